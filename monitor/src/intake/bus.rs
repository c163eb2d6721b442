//! The connection to NATS and its subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError, Subscriber};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Mbus;
use crate::sync::chain;

/// How many messages of one subscription wait for the service at the most; beyond, the bus client drops and says so.
const CAPACITY: usize = 262_144;

/// Between two attempts at the first connection.
const RETRY: Duration = Duration::from_secs(1);

/// The subscriptions and the state of the connection.
pub struct Intake {
    /// Heartbeats.
    pub heartbeats: Subscriber,
    /// Alerts of agents.
    pub alerts: Subscriber,
    /// Goodbyes of agents, and what monitors say to each other.
    pub shutdowns: Subscriber,
    /// Alerts of the director.
    pub director: Subscriber,
    /// Whether the connection stands.
    pub connected: watch::Receiver<bool>,
    /// What else it has been through.
    pub trouble: Arc<Trouble>,
    /// To publish with.
    pub client: Client,
}

/// What a connection has been through.
#[derive(Debug, Default)]
pub struct Trouble {
    /// How often it broke.
    pub disconnects: AtomicU64,
    /// How often a message was dropped because this process was too slow to take it.
    pub dropped: AtomicU64,
    /// Whether the server does not let this user publish.
    pub mute: AtomicBool,
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be reached in time.
    #[error("connecting to NATS at '{endpoint}': {reason} (tried for {waited:?})")]
    Connect {
        /// Where.
        endpoint: String,
        /// The last attempt's error.
        reason: String,
        /// For how long.
        waited: Duration,
    },
    /// It refused a subscription.
    #[error("subscribing to {subject}: {reason}")]
    Subscribe {
        /// To what.
        subject: &'static str,
        /// Why.
        reason: String,
    },
}

impl Intake {
    /// Connects, trying for as long as the configuration says, and subscribes. Later interruptions are mended by the
    /// client, for ever.
    pub async fn connect(mbus: &Mbus) -> Result<Self, Error> {
        let (up, connected) = watch::channel(true);
        let trouble = Arc::new(Trouble::default());
        let begun = Instant::now();
        let client = loop {
            let (up, trouble) = (up.clone(), trouble.clone());
            let options = ConnectOptions::new()
                .name("bosh-monitor")
                .require_tls(true)
                .add_root_certificates(mbus.server_ca.clone())
                .add_client_certificate(
                    mbus.client_certificate.clone(),
                    mbus.client_private_key.clone(),
                )
                .subscription_capacity(CAPACITY)
                .event_callback(move |event| {
                    note(&event, &up, &trouble);
                    std::future::ready(())
                });
            match options.connect(&mbus.endpoint).await {
                Ok(client) => break client,
                Err(error) if begun.elapsed() + RETRY > mbus.connection_wait_timeout => {
                    return Err(Error::Connect {
                        endpoint: mbus.endpoint.clone(),
                        reason: chain(&error),
                        waited: begun.elapsed(),
                    });
                }
                Err(error) => {
                    tracing::info!("Waiting for NATS to become available: {}", chain(&error))
                }
            }
            tokio::time::sleep(RETRY).await;
        };
        Ok(Self {
            heartbeats: subscribe(&client, "hm.agent.heartbeat.*").await?,
            alerts: subscribe(&client, "hm.agent.alert.*").await?,
            shutdowns: subscribe(&client, "hm.agent.shutdown.*").await?,
            director: subscribe(&client, "hm.director.alert").await?,
            connected,
            trouble,
            client,
        })
    }
}

fn note(event: &Event, up: &watch::Sender<bool>, trouble: &Trouble) {
    match event {
        Event::Connected => _ = up.send_replace(true),
        Event::Disconnected | Event::Closed => {
            trouble.disconnects.fetch_add(1, Ordering::Relaxed);
            // The next server may allow it.
            trouble.mute.store(false, Ordering::Relaxed);
            up.send_replace(false);
        }
        Event::SlowConsumer(_) => {
            let dropped = trouble.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if !dropped.is_power_of_two() {
                return;
            }
        }
        Event::ServerError(ServerError::Other(text))
            if text
                .to_ascii_lowercase()
                .contains("permissions violation for publish") =>
        {
            trouble.mute.store(true, Ordering::Relaxed);
        }
        _ => {}
    }
    tracing::info!("NATS: {event}");
}

async fn subscribe(client: &Client, subject: &'static str) -> Result<Subscriber, Error> {
    client
        .subscribe(subject)
        .await
        .map_err(|error| Error::Subscribe {
            subject,
            reason: chain(&error),
        })
}

/// The agent's id, the last part of `hm.agent.KIND.ID`.
pub fn agent_id(subject: &str) -> &str {
    subject.splitn(4, '.').nth(3).unwrap_or_default()
}
