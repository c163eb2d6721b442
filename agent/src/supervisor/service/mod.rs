//! The supervisor's mind: a state machine without I/O. Time is an argument, what is to be done comes back as data.
//!
//! - `types.rs`: what goes in ([`Input`]), what comes out ([`Effect`]) and what others see ([`Snapshot`]);
//! - `entry.rs`: one service;
//! - `machine.rs`: all of them; `requests.rs` what is asked of them, `observe.rs` what happens to them, `advance.rs` what is done
//!   about it, by the policies below;
//! - `events.rs`: monit's names and numbers of what can happen to a service.
//!
//! # Policies
//!
//! **Restart.** A monitored process that dies is started again at once. If it dies again within a minute of coming up, or does
//! not come up within its start program's timeout, the next attempt waits 1 s, then 2, 4, 8, 16 and 30 s from there on; a
//! minute of life resets that. There is no end to it unless the control file says so (`if 5 restarts within 10 cycles then
//! timeout`): an instance that could heal must not need an operator. For that rule at most one restart counts per cycle, since
//! we restart faster than monit, which never does so more than once in a cycle.
//!
//! **Order.** A service starts once its prerequisites are up and stops once its dependants are down. A restart takes the
//! dependants along.
//!
//! **Deliberately stopped or unmonitored** services are left alone by every check, also by those of services they depend on.
//! Only an explicit start or monitor changes that.
//!
//! **Watchdog.** With `watchdog` a process is up when it said so over the notify socket; one that did not by its start program's
//! timeout is killed and counts as one that did not start. One that is silent for longer than its interval is restarted, and is
//! killed with its descendants when its stop program's timeout has passed. Whoever is adopted counts as ready.
//!
//! **Leftovers.** A stop is complete when the process has ended, its stop program has ended, and nothing is left in the service's
//! cgroup: what is left gets SIGTERM and then SIGKILL. What a job moved into cgroups of its own (containers) is its own business.
//!
//! **Timeouts.** A start program that has not brought its process up by its timeout is killed with its process group. A start
//! program that fails gets two more seconds for its process to turn up. A stop program is killed at its timeout, an alert is
//! sent, and the process may take until `kill_after` to end; then it is killed with all its descendants.

mod advance;
mod entry;
mod events;
mod machine;
#[cfg(test)]
mod machine_tests;
mod observe;
#[cfg(test)]
mod property_tests;
mod requests;
mod types;
#[cfg(test)]
mod world_tests;

pub(crate) use entry::Saved;
pub(crate) use events::Event;
pub(crate) use machine::{Machine, Policy};
pub use types::{Action, Monitoring, Snapshot, Vitals};
pub(crate) use types::{Effect, Input, Notice, Outcome, Run, RunId};
