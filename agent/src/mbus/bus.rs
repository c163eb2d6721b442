//! What the rest of the agent sees of the message bus. Cheap to clone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

/// Messages that wait for a connection; one more, and the oldest is dropped.
const MAX_WAITING: usize = 256;
/// Their size together, beyond which the oldest are dropped. Bytes.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Publishes, and tells when a connection came up.
#[derive(Clone, Debug)]
pub struct Bus {
    inner: Arc<Mutex<Inner>>,
    connections: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    client: Option<Client>,
    /// Nobody will ever listen.
    deaf: bool,
    waiting: VecDeque<(String, Bytes)>,
    waiting_bytes: usize,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            connections: watch::Sender::new(0),
        }
    }
}

impl Bus {
    /// Publishes JSON; without a connection it waits for one, see [`Bus::publish_bytes`].
    pub async fn publish<T: Serialize + ?Sized>(&self, subject: String, message: &T) {
        match serde_json::to_vec(message) {
            Ok(bytes) => self.publish_bytes(subject, bytes).await,
            Err(error) => tracing::error!(subject, %error, "cannot encode a message"),
        }
    }

    /// Publishes bytes that are JSON already. Without a connection they wait until there is one; of what does not fit
    /// into the queue the oldest is dropped. Over HTTPS, where nobody listens, all is.
    pub async fn publish_bytes(&self, subject: String, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        let Some(client) = self.connected_client() else {
            self.keep(subject, bytes);
            return;
        };
        if let Err(error) = client.publish(subject.clone(), bytes.clone()).await {
            match error.kind() {
                async_nats::client::PublishErrorKind::Send => self.keep(subject, bytes),
                _ => tracing::warn!(subject, %error, "cannot publish"),
            }
        }
    }

    /// Whether a message would leave at once.
    pub fn is_connected(&self) -> bool {
        self.connected_client().is_some()
    }

    /// Changes whenever a connection came up and requests arrive on it.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Uses another client from now on; it has connected already. What has waited leaves first.
    pub(super) async fn replace(&self, client: Client) {
        self.lock().client = Some(client);
        self.connected().await;
    }

    /// The client's connection came up again.
    pub(super) async fn connected(&self) {
        while let Some(client) = self.connected_client() {
            let next = {
                let mut inner = self.lock();
                let next = inner.waiting.pop_front();
                inner.waiting_bytes -= next.as_ref().map_or(0, |(_, bytes)| bytes.len());
                next
            };
            let Some((subject, bytes)) = next else { break };
            if let Err(error) = client.publish(subject.clone(), bytes).await {
                tracing::warn!(subject, %error, "cannot publish what has waited");
            }
        }
        self.connections.send_modify(|count| *count += 1);
    }

    /// The client has given up.
    pub(super) fn lost(&self) {
        self.lock().client = None;
    }

    /// There will be nobody to publish to.
    pub(super) fn silence(&self) {
        *self.lock() = Inner {
            deaf: true,
            ..Inner::default()
        };
    }

    fn keep(&self, subject: String, bytes: Bytes) {
        let mut inner = self.lock();
        if inner.deaf {
            return;
        }
        inner.waiting_bytes += bytes.len();
        inner.waiting.push_back((subject, bytes));
        while inner.waiting.len() > MAX_WAITING || inner.waiting_bytes > MAX_WAITING_BYTES {
            let Some((subject, bytes)) = inner.waiting.pop_front() else {
                return;
            };
            inner.waiting_bytes -= bytes.len();
            tracing::debug!(subject, "dropped: there is no message bus to publish to");
        }
    }

    fn connected_client(&self) -> Option<Client> {
        let client = self.lock().client.clone()?;
        (client.connection_state() == State::Connected).then_some(client)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(bus: &Bus) -> Vec<String> {
        let inner = bus.lock();
        inner.waiting.iter().map(|(s, _)| s.clone()).collect()
    }

    #[tokio::test]
    async fn an_outage_costs_bounded_memory_and_the_newest_survive() {
        let bus = Bus::default();
        // An hour of an alert per second.
        for n in 0..3600 {
            bus.publish(format!("hm.agent.alert.{n}"), &"x".repeat(1000))
                .await;
        }
        let kept = waiting(&bus);
        assert_eq!(kept.len(), MAX_WAITING);
        assert_eq!(kept.last().unwrap(), "hm.agent.alert.3599");
        // A few replies as large as they may be push everything else out.
        for n in 0..10 {
            bus.publish_bytes(format!("director.{n}"), vec![b' '; 1024 * 1024])
                .await;
        }
        assert_eq!(
            waiting(&bus),
            ["director.6", "director.7", "director.8", "director.9"]
        );
        assert_eq!(bus.lock().waiting_bytes, MAX_WAITING_BYTES);
    }

    #[tokio::test]
    async fn over_https_nothing_waits() {
        let bus = Bus::default();
        bus.publish("a".into(), &1).await;
        bus.silence();
        bus.publish("b".into(), &2).await;
        assert!(waiting(&bus).is_empty());
        assert!(!bus.is_connected());
    }
}
