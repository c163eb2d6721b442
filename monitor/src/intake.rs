//! The bus: connects with mutual TLS and subscribes to what agents and director say.
//!
//! The subjects are upstream's: `hm.agent.{heartbeat,alert,shutdown}.<agent id>` and `hm.director.alert`.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Subscriber};
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
    /// Goodbyes of agents.
    pub shutdowns: Subscriber,
    /// Alerts of the director.
    pub director: Subscriber,
    /// Whether the connection stands.
    pub connected: watch::Receiver<bool>,
    _client: Client,
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
        let begun = Instant::now();
        let client = loop {
            let up = up.clone();
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
                    let up = up.clone();
                    async move {
                        match event {
                            Event::Connected => _ = up.send(true),
                            Event::Disconnected => _ = up.send(false),
                            _ => {}
                        }
                        tracing::info!("NATS: {event}");
                    }
                });
            match options.connect(&mbus.endpoint).await {
                Ok(client) => break client,
                Err(error) if begun.elapsed() + RETRY > mbus.connection_wait_timeout => {
                    let (endpoint, reason, waited) =
                        (mbus.endpoint.clone(), chain(&error), begun.elapsed());
                    return Err(Error::Connect {
                        endpoint,
                        reason,
                        waited,
                    });
                }
                Err(error) => {
                    tracing::info!("waiting for NATS to become available: {}", chain(&error))
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
            _client: client,
        })
    }
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
