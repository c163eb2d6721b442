//! One connection to NATS, and how it is come by.
//!
//! async-nats would reconnect by itself, but cannot be told to stop while it does, and keeps what is published meanwhile.
//! So a client here tries its server once more when it has lost it, and then ends; attempts are made by [`connect`], which
//! ends when it is dropped, looks the name up and reads the settings each time.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use bosh_protocol::{Settings, subject};
use rustls::ClientConfig;

use super::{Bus, Error, tls};
use crate::agent::Agent;

/// The longest pause between two attempts to connect; the director gives up on a request after 45 seconds.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(10);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Messages in a client's queue; a full one holds back what publishes.
const QUEUE: usize = 256;

/// A client that is connected and subscribed.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) requests: Subscriber,
}

/// Where to connect and as whom, checked.
pub(super) struct Target {
    servers: Vec<ServerAddr>,
    tls: ClientConfig,
    name: String,
    subject: String,
}

impl Target {
    /// Fails if the settings are unusable.
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let servers: Vec<ServerAddr> = settings
            .mbus_urls()
            .iter()
            .map(|url| url.expose().trim().parse())
            .collect::<Result<_, _>>()
            .map_err(Error::BadUrl)?;
        if servers.is_empty() {
            return Err(Error::NoUrl);
        }
        Ok(Self {
            servers,
            tls: tls::client_config(settings.mbus_cert())?,
            name: format!("agent.{}", settings.agent_id),
            subject: subject::requests(&settings.agent_id),
        })
    }

    /// One attempt with one server.
    async fn open(
        &self,
        server: &ServerAddr,
        bus: &Bus,
        subscribing: &AtomicBool,
    ) -> Result<Connection, Error> {
        let reconnected = bus.clone();
        let first = Arc::new(AtomicBool::new(true));
        let client = ConnectOptions::new()
            .max_reconnects(1)
            .connection_timeout(ATTEMPT)
            .client_capacity(QUEUE)
            .name(&self.name)
            .tls_client_config(self.tls.clone())
            .require_tls(true)
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let (bus, first) = (reconnected.clone(), first.clone());
                async move {
                    match event {
                        Event::Connected if first.swap(false, Ordering::Relaxed) => {}
                        Event::Connected => {
                            tracing::info!("connected to NATS again");
                            bus.connected().await;
                        }
                        event => tracing::warn!(%event, "NATS"),
                    }
                }
            })
            .connect(server.clone())
            .await?;
        let subject = self.subject.clone();
        subscribing.store(true, Ordering::Relaxed);
        let requests = client
            .subscribe(subject.clone())
            .await
            .map_err(|source| Error::Subscribe { subject, source })?;
        // The subscription has left for the server, so that nothing is waited for that was sent before.
        if let Err(error) = client.flush().await {
            tracing::debug!(%error, "the subscription is still under way");
        }
        Ok(Connection { client, requests })
    }
}

/// Connects with the settings of now, however long it takes. Drop it and it stops. `subscribing` is set as soon as requests
/// may arrive.
pub(super) async fn connect(agent: Arc<Agent>, subscribing: Arc<AtomicBool>) -> Connection {
    let mut attempts = 0;
    loop {
        let target = match Target::new(&agent.settings.get()) {
            Ok(target) => target,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the settings of NATS are unusable"
                );
                attempts += 1;
                tokio::time::sleep(pause(attempts + 1, random())).await;
                continue;
            }
        };
        for server in in_some_order(&target.servers, random()) {
            attempts += 1;
            tokio::time::sleep(pause(attempts, random())).await;
            forget_address(&agent, server).await;
            let urls = agent.settings.get().mbus_urls();
            agent.platform.protect_message_bus(&urls).await;
            match target.open(server, &agent.bus, &subscribing).await {
                Ok(connection) => {
                    tracing::info!(server = %place(server), subject = target.subject, "connected to NATS");
                    return connection;
                }
                Err(error) => tracing::warn!(
                    server = %place(server),
                    attempts,
                    error = &error as &dyn std::error::Error,
                    "cannot connect to NATS"
                ),
            }
        }
    }
}

/// Whoever had the address before may have another hardware address than who has it now.
async fn forget_address(agent: &Agent, server: &ServerAddr) {
    let Ok(ip) = server.host().trim_matches(['[', ']']).parse::<IpAddr>() else {
        return;
    };
    if ip.is_loopback() {
        return;
    }
    if let Err(error) = agent.platform.delete_arp_entry(ip).await {
        tracing::debug!(%ip, error = &error as &dyn std::error::Error, "delete from the ARP cache");
    }
}

/// Without the password that the URL may have.
fn place(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// All servers, a random one first, so that agents spread over them.
fn in_some_order(servers: &[ServerAddr], random: u64) -> impl Iterator<Item = &ServerAddr> {
    let start = usize::try_from(random).unwrap_or_default() % servers.len().max(1);
    servers[start..].iter().chain(&servers[..start])
}

/// How long to wait before the n-th attempt: at once, then 100 ms, doubled each time, and up to half of it more so that
/// not all agents come at the same moment. `random` is any number.
fn pause(attempts: usize, random: u64) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let base = Duration::from_millis(100)
        * 2u32.pow(u32::try_from(attempts - 2).unwrap_or(u32::MAX).min(10));
    // The longest pause, too, is not the same for all.
    let base = base.min(MAX_PAUSE.mul_f64(2.0 / 3.0));
    let jitter = base.mul_f64((random % 1000) as f64 / 2000.0);
    base + jitter
}

fn random() -> u64 {
    u64::from_le_bytes(
        uuid::Uuid::new_v4().as_bytes()[..8]
            .try_into()
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause(0, 7), Duration::ZERO);
        assert_eq!(pause(1, 7), Duration::ZERO);
        assert_eq!(pause(2, 0), Duration::from_millis(100));
        assert_eq!(pause(4, 0), Duration::from_millis(400));
        assert!((400..600).contains(&pause(4, 999).as_millis()));
        for attempts in 9..100 {
            assert!(pause(attempts, 999) <= MAX_PAUSE);
            assert!(pause(attempts, 999) > pause(attempts, 0));
            assert!(pause(attempts, 0) > Duration::from_secs(6));
        }
    }

    #[test]
    fn every_server_gets_its_turn() {
        let servers: Vec<ServerAddr> = ["nats://a:1", "nats://b:1", "nats://[::1]:1"]
            .iter()
            .map(|url| url.parse().unwrap())
            .collect();
        for random in 0..10 {
            let mut hosts: Vec<_> = in_some_order(&servers, random).map(place).collect();
            hosts.sort();
            assert_eq!(hosts.len(), 3);
            assert_eq!(hosts[1..], ["a:1", "b:1"]);
        }
        assert_eq!(in_some_order(&[], 7).count(), 0);
        let first = |random| place(in_some_order(&servers, random).next().unwrap());
        assert_ne!(first(0), first(1));
    }
}
