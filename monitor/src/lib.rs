//! The health monitor: hears the agents, compares them with what the director says should be there, and tells people and
//! the director what is wrong. It replaces upstream's `bosh-monitor` and reads its `health_monitor.yml`.
//!
//! - [`config`]: the file as written, and validated;
//! - [`event`]: alerts and heartbeats as plugins see them;
//! - [`intake`]: the bus -> [`registry`], never blocking on anything else;
//! - [`registry`]: known deployments, instances and agents;
//! - [`rules`]: what the registry's state means, purely;
//! - [`lease`]: which of several monitors acts, purely;
//! - [`director`], [`sync`]: asks the director, on its interval;
//! - [`notify`]: plugins, each with a bounded queue of its own;
//! - [`resurrect`]: when to have the director repair, purely;
//! - [`http`]: what probes, the director's metrics server, Prometheus and people read;
//! - [`service`]: the one task that owns the registry.

pub mod config;
pub mod director;
pub mod event;
pub mod http;
pub mod intake;
pub mod lease;
pub mod notify;
pub mod registry;
pub mod resurrect;
pub mod rules;
pub mod service;
pub mod sync;

pub use service::run;
