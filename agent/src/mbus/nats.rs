//! NATS with a client certificate: one subscription to `agent.<id>`, and a new connection when `update_settings` brings
//! another address or certificate. Source: upstream mbus/nats_handler.go; upstream restarts the agent for that.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, Message, ServerAddr, Subscriber};
use bosh_protocol::envelope::MAX_REPLY;
use bosh_protocol::{Request, Settings, subject};
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::{Bus, Error, reply, tls};
use crate::agent::Agent;
use crate::rpc;

/// Requests worked on at a time; more wait in NATS.
const MAX_REQUESTS: usize = 32;
/// The longest pause between two attempts to connect; the director gives up on a request after 45 seconds.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// How many reply subjects are remembered.
const MAX_RECENT: usize = 64;
/// How long an old connection may take to bring its last requests.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);
/// How often one client tries to connect, some three minutes in all. A client in use that gives up is replaced; one that
/// was left behind while its server was away cannot be told to stop, so it must not go on for ever.
const MAX_ATTEMPTS: usize = 25;
/// The longest wait for a connection that is to replace another.
const REPLACE_DEADLINE: Duration = Duration::from_secs(60);

/// Serves requests until the agent ends. Fails only if the settings of the start are unusable.
pub async fn serve(agent: Arc<Agent>, mut changes: watch::Receiver<u64>) -> Result<(), Error> {
    changes.mark_unchanged();
    let mut connection = Connection::open(&agent.settings.get(), &agent.bus).await?;
    agent.bus.replace(connection.client.clone());
    let mut server = Server {
        agent,
        permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
        recent: VecDeque::new(),
    };
    // While one is being made, or lets go, requests are taken from the others.
    let mut opening: Option<Opening> = None;
    let mut leaving: Option<Leaving> = None;
    let mut ended = false;
    loop {
        tokio::select! {
            message = connection.requests.next(), if !ended => match message {
                Some(message) => server.take(message).await,
                // The client has given up.
                None => {
                    ended = true;
                    opening.get_or_insert_with(|| Box::pin(reopen(server.agent.clone())));
                }
            },
            message = last_request(&mut leaving) => match message {
                Some(message) => server.take(message).await,
                None => leaving = None,
            },
            changed = changes.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                opening = Some(Box::pin(reopen(server.agent.clone())));
            }
            new = opened(&mut opening) => {
                opening = None;
                ended = false;
                server.agent.bus.replace(new.client.clone());
                let old = std::mem::replace(&mut connection, new);
                leaving = Some(Leaving::start(old, LEAVE_DEADLINE));
            }
        }
    }
}

type Opening = Pin<Box<dyn Future<Output = Connection> + Send>>;

/// The connection that is being made; never, if none is.
async fn opened(opening: &mut Option<Opening>) -> Connection {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// A connection that was replaced and may still bring requests.
struct Leaving {
    requests: Subscriber,
    until: Instant,
}

impl Leaving {
    fn start(old: Connection, deadline: Duration) -> Self {
        let client = old.client;
        tokio::spawn(async move {
            // A client without a connection may have a full queue; letting go of it is all that can be done then.
            match tokio::time::timeout(deadline, client.drain()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "leave the old NATS"),
                Err(_) => tracing::debug!("the old NATS takes no more"),
            }
        });
        Self {
            requests: old.requests,
            until: Instant::now() + deadline,
        }
    }
}

/// What the replaced connection still brings; nothing when it has ended or its time is over; never, if there is none.
async fn last_request(leaving: &mut Option<Leaving>) -> Option<Message> {
    match leaving {
        Some(leaving) => tokio::time::timeout_at(leaving.until, leaving.requests.next())
            .await
            .unwrap_or_else(|_| {
                tracing::debug!("the old NATS does not let go");
                None
            }),
        None => std::future::pending().await,
    }
}

struct Server {
    agent: Arc<Agent>,
    permits: Arc<Semaphore>,
    /// Reply subjects of the requests taken last: one that comes again has come by another connection.
    recent: VecDeque<String>,
}

impl Server {
    async fn take(&mut self, message: Message) {
        let mut request: Request = match serde_json::from_slice(&message.payload) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(%error, "a request that is none");
                return;
            }
        };
        let mut reply_to = std::mem::take(&mut request.reply_to);
        if reply_to.is_empty() {
            reply_to = message
                .reply
                .map(|reply| reply.to_string())
                .unwrap_or_default();
        }
        if !reply_to.is_empty() {
            if self.recent.contains(&reply_to) {
                tracing::debug!(reply_to, "the same request again");
                return;
            }
            self.recent.truncate(MAX_RECENT - 1);
            self.recent.push_front(reply_to.clone());
        }
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return;
        };
        let agent = self.agent.clone();
        tokio::spawn(async move {
            let response = rpc::dispatch(&agent, request).await;
            if !reply_to.is_empty() {
                agent
                    .bus
                    .publish_bytes(reply_to, reply::encode(&response, MAX_REPLY))
                    .await;
            }
            drop(permit);
        });
    }
}

struct Connection {
    client: Client,
    requests: Subscriber,
}

impl Connection {
    async fn open(settings: &Settings, bus: &Bus) -> Result<Self, Error> {
        let urls = settings.mbus_urls();
        if urls.is_empty() {
            return Err(Error::NoUrl);
        }
        let servers: Vec<ServerAddr> = urls
            .iter()
            .map(|url| url.expose().trim().parse())
            .collect::<Result<_, _>>()
            .map_err(Error::BadUrl)?;
        let connected = bus.clone();
        let client = patient(MAX_ATTEMPTS)
            .name(format!("agent.{}", settings.agent_id))
            .tls_client_config(tls::client_config(settings.mbus_cert())?)
            .require_tls(true)
            .ignore_discovered_servers()
            .event_callback(move |event| {
                let connected = connected.clone();
                async move {
                    match event {
                        Event::Connected => {
                            tracing::info!("connected to NATS");
                            connected.connected();
                        }
                        event => tracing::warn!(%event, "NATS"),
                    }
                }
            })
            .connect(servers)
            .await?;
        let subject = subject::requests(&settings.agent_id);
        tracing::info!(subject, "subscribe");
        let requests = client
            .subscribe(subject.clone())
            .await
            .map_err(|source| Error::Subscribe { subject, source })?;
        Ok(Self { client, requests })
    }
}

/// How a client goes about a server that is away.
fn patient(attempts: usize) -> ConnectOptions {
    ConnectOptions::new()
        .retry_on_initial_connect()
        .max_reconnects(attempts)
        .reconnect_delay_callback(|attempts| pause(attempts, random()))
}

/// Connects with the settings of now, however long it takes to get usable ones.
async fn reopen(agent: Arc<Agent>) -> Connection {
    let mut attempts = 1;
    loop {
        match Connection::open(&agent.settings.get(), &agent.bus).await {
            Ok(connection) => {
                // Not before it works: replies would wait in a client that may never connect.
                if tokio::time::timeout(REPLACE_DEADLINE, connection.client.flush())
                    .await
                    .is_err()
                {
                    tracing::warn!("the new NATS does not answer yet");
                }
                return connection;
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the new settings of NATS are unusable"
                );
                tokio::time::sleep(pause(attempts, random())).await;
                attempts += 1;
            }
        }
    }
}

/// How long to wait before the n-th attempt: at once, then 100 ms, doubled each time, and up to half of it more so that
/// not all agents come at the same moment. `random` is any number.
fn pause(attempts: usize, random: u64) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let base = Duration::from_millis(100)
        * 2u32.pow(u32::try_from(attempts - 2).unwrap_or(u32::MAX).min(10));
    let jitter = base.mul_f64((random % 1000) as f64 / 2000.0);
    (base + jitter).min(MAX_PAUSE)
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

    /// To a port where nobody listens.
    async fn unconnected() -> Connection {
        let client = patient(3).connect("127.0.0.1:1").await.unwrap();
        let requests = client.subscribe("agent.a").await.unwrap();
        Connection { client, requests }
    }

    #[tokio::test]
    async fn a_dead_connection_is_left_at_its_deadline() {
        let mut leaving = Some(Leaving::start(unconnected().await, Duration::ZERO));
        let last = tokio::time::timeout(MAX_PAUSE, last_request(&mut leaving)).await;
        assert!(last.expect("it is left").is_none());
    }

    #[tokio::test]
    async fn no_client_tries_for_ever() {
        let mut connection = unconnected().await;
        let ended = tokio::time::timeout(MAX_PAUSE, connection.requests.next()).await;
        assert!(ended.expect("the client gives up").is_none());
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause(0, 7), Duration::ZERO);
        assert_eq!(pause(1, 7), Duration::ZERO);
        assert_eq!(pause(2, 0), Duration::from_millis(100));
        assert_eq!(pause(4, 0), Duration::from_millis(400));
        assert!((400..600).contains(&pause(4, 999).as_millis()));
        for attempts in 9..100 {
            assert_eq!(pause(attempts, 999), MAX_PAUSE);
        }
    }
}
