//! Which of several monitors on one bus acts. Pure; time is an argument.
//!
//! All of them hear everything and keep their registries warm. One of them, the leader, gives alerts to plugins and has VMs
//! repaired. They agree by talking on `hm.agent.shutdown.bosh-monitor-lease`:
//!
//! - upstream's permissions let the monitor's user subscribe to `hm.agent.shutdown.*`;
//! - its `publish: []` denies nothing (nats-server takes an empty list for none at all);
//! - no agent may publish there, because its own id is another;
//! - upstream's monitors ignore a goodbye from an agent they do not know.
//!
//! A leader says so twice per interval. Its right to act ends 1.25 intervals after it *sent* the last of those that it heard
//! again itself. A follower that has been connected all the time and has *heard* no leader for 1.5 intervals claims the lease,
//! claims it again a little later, and leads once it has heard both of its claims again and no better one in between.
//! A follower says once per interval that it is there, so that the leader knows. So a dead leader is replaced within two intervals, and as every server delivers in one order to each of its clients, a
//! leader's right has ended before anyone else's begins.
//!
//! What happens at the edges:
//!
//! - **The bus is down, or a monitor is cut off from it**: its right ends after 1.25 intervals; nobody acts who cannot be
//!   heard. Whoever is still connected takes over.
//! - **A monitor is stopped** (SIGSTOP, a suspended machine): its right has run out when it goes on, and it sees that before
//!   it acts. What it had already handed to a plugin's queue is delivered.
//! - **The bus itself is several servers and splits**: each side elects a leader for its own agents. When they meet again, the
//!   one with the lower id stays.
//! - **The server does let nobody publish**: monitors cannot know of each other. Each acts, as upstream's would.
//! - **A leader dies within an interval of an alert**: it tells which alerts it has handed on as soon as it has; the next
//!   leader delivers the ones it has not heard of. An alert is given twice rather than not at all.

mod state;
#[cfg(test)]
mod tests;
mod wire;

pub use state::{Lease, Standing};
pub use wire::{Message, Role, SUBJECT, key};
