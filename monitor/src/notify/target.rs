//! What a plugin is that has somebody to tell, as opposed to the spool, the pace and the filters, which all have alike.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::{Alert, Heartbeat};

/// Why something was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may be another time; no sooner than this, where the target says so.
    Retry(String, Option<Duration>),
    /// It will be as wrong every other time: there is no use in keeping it.
    Refused(String),
}

impl Failure {
    pub(super) fn retry(why: impl Into<String>) -> Self {
        Self::Retry(why.into(), None)
    }
}

/// Delivers. Called by one task at a time; both calls are to end within [`PATIENCE`].
#[async_trait]
pub(super) trait Target: Send + Sync {
    /// Delivers alerts as one message. There is one alert only unless [`Manner::several`] is set.
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure>;

    /// Delivers heartbeats: at least one, at most [`Manner::heartbeats`].
    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure>;

    /// The monitor ends: nothing will follow.
    async fn close(&mut self) {}
}

/// The longest a target may take for one call before it is given up as failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How a target is to be treated.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Whether its alerts are kept on disk until they are delivered.
    pub(super) durable: bool,
    /// Whether one message may carry several alerts as they are.
    pub(super) several: bool,
    /// Whether several alerts may become one.
    pub(super) mergeable: bool,
    /// Between two messages, where it has fixed times.
    pub(super) interval: Option<Duration>,
    /// How many heartbeats it takes at once.
    pub(super) heartbeats: usize,
    /// Whether it is told that alerts ended, unless the configuration says otherwise.
    pub(super) recovery: bool,
    /// Whether it is told that somebody sees to an alert.
    pub(super) acknowledgements: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            durable: true,
            several: false,
            mergeable: true,
            interval: None,
            heartbeats: 100,
            recovery: false,
            acknowledgements: false,
        }
    }
}

impl Manner {
    /// Of a plugin that has no spool.
    pub(super) fn plain() -> Self {
        Self {
            durable: false,
            ..Self::default()
        }
    }
}
