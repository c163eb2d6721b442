//! The one task that owns the registry. Everything else sends it messages; it decides and never waits for a plugin, the
//! director or a client.
//!
//! - [`run`]: puts all parts together;
//! - [`Handle`]: asks the running service;
//! - [`attention`]: knows when it could not listen;
//! - [`duty`]: whether to act on an alert, keep it or leave it;
//! - [`recent`]: alerts to look back at;
//! - [`view`]: what the status page and the metrics show;
//! - `turn.rs`: the loop; `messages.rs`: what comes over the bus; `analysis.rs`: what the timers do.

mod analysis;
pub mod attention;
pub mod duty;
mod handle;
mod messages;
pub mod recent;
mod run;
mod turn;
pub mod view;

pub use handle::{Alerts, Count, Feed, Handle};
pub use run::{Error, run};
