//! Simulated agents: thousands of them in one process, for tests and benchmarks of the director and the monitor.
//!
//! | module | what |
//! |---|---|
//! | [`Agent`] | one of them: answers every method, purely |
//! | [`fleet`] | many of them on one NATS connection, or one connection each |
//!
//! They answer as an agent would whose every task takes as long as told and succeeds. Nothing is installed, started or
//! fetched; a compiled package is always the same empty tarball, which is not uploaded.

mod agent;
pub mod fleet;

pub use agent::{Agent, Behaviour};
pub use fleet::Fleet;
