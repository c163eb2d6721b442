//! The supervisor's task: what happens goes into the state machine, and what the machine says is done.
//!
//! - `service.rs`: [`Service`], its loop, and the requests it answers;
//! - `hands.rs`: programs and processes: run, look for, watch, kill, adopt;
//! - `checking.rs`: the tests of each cycle;
//! - `publish.rs`: what others see, and what is written to files.

mod checking;
mod hands;
mod publish;
mod service;
#[cfg(test)]
mod tests;

pub use service::Service;
