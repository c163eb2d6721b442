//! Asks the running service.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::view::{Instances, Overview, Sheet};
use crate::event::Alert;

/// Numbers that probes ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Agents that have been silent for too long.
    UnresponsiveAgents,
    /// Agents that run and supervise nothing.
    UnhealthyAgents,
    /// All agents, and those without deployment as `unmanaged`.
    TotalAvailableAgents,
    /// Agents whose jobs fail.
    FailingInstances,
    /// Agents whose jobs are stopped.
    StoppedInstances,
    /// Agents that have not said how their jobs are.
    UnknownInstances,
}

/// Some alerts.
pub type Alerts = Vec<Arc<Alert>>;

pub(super) enum Request {
    Raise(Box<Alert>),
    Members(String, oneshot::Sender<Vec<(String, String)>>),
    MayRepair(oneshot::Sender<bool>),
    Count(Count, oneshot::Sender<Option<Map<String, Value>>>),
    Overview(oneshot::Sender<Overview>),
    Instances(String, oneshot::Sender<Option<Instances>>),
    Alerts(oneshot::Sender<(Alerts, Alerts)>),
    Sheet(oneshot::Sender<Sheet>),
    Pulse(oneshot::Sender<()>),
}

/// Alerts as they come, for whoever looks.
pub type Feed = broadcast::Receiver<Arc<Alert>>;

/// Talks to the running service.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) feed: broadcast::Sender<Arc<Alert>>,
}

impl Handle {
    /// Has an alert treated as if the monitor had found it itself.
    pub fn raise(&self, alert: Alert) {
        if let Err(error) = self.requests.try_send(Request::Raise(Box::new(alert))) {
            tracing::error!("an alert of a plugin is lost: {error}");
        }
    }

    /// The members of a deployment, as [`Registry::members`](crate::registry::Registry::members) counts them.
    pub async fn members(&self, deployment: &str) -> Vec<(String, String)> {
        let deployment = deployment.to_owned();
        self.ask(|reply| Request::Members(deployment, reply))
            .await
            .unwrap_or_default()
    }

    /// Whether this monitor is the one that has VMs repaired.
    pub async fn may_repair(&self) -> bool {
        self.ask(Request::MayRepair).await.unwrap_or_default()
    }

    /// Deployment -> number; `None` until the director has been heard once.
    pub async fn count(&self, count: Count) -> Option<Map<String, Value>> {
        self.ask(|reply| Request::Count(count, reply))
            .await
            .flatten()
    }

    /// How everything is.
    pub async fn overview(&self) -> Option<Overview> {
        self.ask(Request::Overview).await
    }

    /// The instances of a deployment, if there is one of that name.
    pub async fn instances(&self, deployment: &str) -> Option<Instances> {
        let deployment = deployment.to_owned();
        self.ask(|reply| Request::Instances(deployment, reply))
            .await
            .flatten()
    }

    /// What is wrong now, and the alerts that came last, newest first.
    pub async fn alerts(&self) -> Option<(Alerts, Alerts)> {
        self.ask(Request::Alerts).await
    }

    /// What the metrics are made of.
    pub async fn sheet(&self) -> Option<Sheet> {
        self.ask(Request::Sheet).await
    }

    /// Alerts from now on.
    pub fn feed(&self) -> Feed {
        self.feed.subscribe()
    }

    /// Whether the service answers within `limit`.
    pub async fn pulse(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ask(Request::Pulse))
            .await
            .is_ok_and(|answer| answer.is_some())
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}
