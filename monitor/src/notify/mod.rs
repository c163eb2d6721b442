//! Plugins: whom to tell.
//!
//! [`Dispatcher`] gives an event to every plugin that asks for its kind:
//!
//! - `gate.rs`: its [`filter`], the [`silence`]s, repeats, and who is told that an alert ended;
//! - `spool.rs`, `journal.rs`: what waits to be delivered, in memory and on disk;
//! - `plan.rs`, `group.rs`: what to deliver next, when, and what goes together;
//! - `courier.rs`: delivers, in a task per plugin, so that one whose target hangs, refuses or is slow holds up nothing else;
//! - `target.rs`: what is left for a plugin to do;
//! - [`recovery`]: notices that something ended;
//! - `build.rs`: from an entry of the configuration to a plugin. A new one is a file and a line there.
//!
//! One file per plugin; `http.rs` and `stream.rs` are what those have in common that speak HTTP or write to a socket.

mod build;
mod consul_event_forwarder;
mod courier;
mod data_dog;
mod dispatcher;
mod email;
mod error;
mod event_logger;
pub mod filter;
mod gate;
mod graphite;
mod group;
mod http;
mod journal;
mod json;
mod logger;
pub mod matcher;
mod pagerduty;
mod plan;
pub mod recovery;
mod resurrector;
mod riemann;
pub mod silence;
mod spool;
mod stats;
mod stream;
mod syslog;
mod target;
mod tsdb;
mod webhook;
pub(crate) mod words;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

pub use dispatcher::Dispatcher;
pub use error::Error;
pub use stats::{PluginStats, Stats};

use crate::event::Event;
use crate::resurrect::Rules;
use crate::service::Handle;

/// A plugin that does all of it itself: takes events until there will be no more. Only for what is not told to anybody.
#[async_trait]
pub trait Plugin: Send {
    /// Runs until `events` ends, and delivers what is still in it before it returns.
    async fn run(self: Box<Self>, events: mpsc::Receiver<Event>);
}

/// What plugins may lean on beside their options.
#[derive(Clone)]
pub struct Context {
    /// The service, to raise alerts of their own and to ask for a deployment's members.
    pub service: Handle,
    /// The latest resurrection rules.
    pub rules: watch::Receiver<Rules>,
}
