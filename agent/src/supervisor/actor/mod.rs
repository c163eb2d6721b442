//! The supervisor's task: what happens goes into the state machine, and what the machine says is done.
//!
//! - `service.rs`: [`Service`], its loop, and the requests it answers;
//! - `hands.rs`: programs and processes: run, look for, watch, kill, adopt;
//! - `sweep.rs`: what a service leaves behind when it is stopped;
//! - `notify.rs`: systemd's notify socket;
//! - `checking.rs`: the tests of each cycle;
//! - `publish.rs`: what others see, and what is written to files.

mod checking;
mod hands;
mod notify;
mod publish;
mod service;
#[cfg(test)]
mod stop_tests;
mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watchdog_tests;

pub use service::Service;
