//! What the rest of the agent sees of the message bus. Cheap to clone.

use std::sync::{Arc, PoisonError, RwLock};

use async_nats::Client;
use async_nats::connection::State;
use serde::Serialize;
use tokio::sync::watch;

/// Publishes, and tells when a connection came up.
#[derive(Clone, Debug)]
pub struct Bus {
    client: Arc<RwLock<Option<Client>>>,
    connections: watch::Sender<u64>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            client: Arc::default(),
            connections: watch::Sender::new(0),
        }
    }
}

impl Bus {
    /// Publishes JSON. Without a connection it is kept until there is one, as far as the client's queue reaches; before
    /// the first, and over HTTPS, where nobody listens, it is dropped.
    pub async fn publish<T: Serialize + ?Sized>(&self, subject: String, message: &T) {
        match serde_json::to_vec(message) {
            Ok(bytes) => self.publish_bytes(subject, bytes).await,
            Err(error) => tracing::error!(subject, %error, "cannot encode a message"),
        }
    }

    /// Publishes bytes that are JSON already.
    pub async fn publish_bytes(&self, subject: String, bytes: Vec<u8>) {
        let Some(client) = self.client() else {
            tracing::debug!(subject, "there is no message bus to publish to");
            return;
        };
        if let Err(error) = client.publish(subject.clone(), bytes.into()).await {
            tracing::warn!(subject, %error, "cannot publish");
        }
    }

    /// Whether a message would leave at once.
    pub fn is_connected(&self) -> bool {
        self.client()
            .is_some_and(|client| client.connection_state() == State::Connected)
    }

    /// Changes whenever a connection came up and requests arrive on it.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Uses another client from now on; it may have connected already.
    pub(super) fn replace(&self, client: Client) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(client);
        self.connected();
    }

    pub(super) fn connected(&self) {
        self.connections.send_modify(|count| *count += 1);
    }

    fn client(&self) -> Option<Client> {
        self.client
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
