//! NATS with a client certificate: one subscription to `agent.<id>`, and a new connection when `update_settings` brings
//! another address or certificate. Source: upstream mbus/nats_handler.go; upstream restarts the agent for that.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bosh_protocol::envelope::MAX_REPLY;
use futures_util::StreamExt as _;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::audit::{self, Audit};
use super::connection::{Connection, Target, connect};
use super::{Error, reply};
use crate::agent::Agent;
use crate::rpc::{self, Request};

/// Requests worked on at a time; more wait in NATS.
const MAX_REQUESTS: usize = 32;
/// How many requests are remembered while two connections bring each of them.
const MAX_RECENT: usize = 64;
/// How long an old connection goes on beside the new one, whose subscription may still be on its way.
const OVERLAP: Duration = Duration::from_millis(250);
/// How long after the old connection has ended the new one may still bring what the old one had brought.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How long an old connection may take to bring its last requests.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

/// Serves requests until the settings name another kind of message bus. Fails only if the settings of the start are
/// unusable.
pub async fn serve(agent: Arc<Agent>, mut changes: watch::Receiver<u64>) -> Result<(), Error> {
    changes.mark_unchanged();
    Target::new(&agent.settings.get())?;
    let mut server = Server {
        audit: Audit::start(),
        agent,
        permits: Arc::new(Semaphore::new(MAX_REQUESTS)),
        recent: Recent::default(),
    };
    let mut current: Option<Connection> = None;
    // While one is being made, or lets go, requests are taken from the others.
    let mut opening = Some(Opening::start(&server.agent));
    let mut leaving: Option<Leaving> = None;
    loop {
        tokio::select! {
            message = next(&mut current) => match message {
                Some(message) => {
                    let doubled = leaving.is_some() || has_subscribed(&opening);
                    server.take(message, Side::Current, doubled).await;
                }
                // The client has given up.
                None => {
                    current = None;
                    server.agent.bus.lost();
                    opening.get_or_insert_with(|| Opening::start(&server.agent));
                }
            },
            message = last_request(&mut leaving) => match message {
                Some(message) => server.take(message, Side::Leaving, true).await,
                None => {
                    leaving = None;
                    if !has_subscribed(&opening) {
                        server.recent.end(Instant::now() + AFTERWARDS);
                    }
                }
            },
            changed = changes.changed() => {
                if changed.is_err() || !super::is_nats(&server.agent.settings.get()) {
                    server.agent.bus.lost();
                    return Ok(());
                }
                // What was being made for the old settings ends here.
                opening = Some(Opening::start(&server.agent));
            }
            // With three of them nobody could tell which request is the same as which.
            new = opened(&mut opening), if leaving.is_none() => {
                opening = None;
                server.agent.bus.replace(new.client.clone()).await;
                leaving = current.replace(new).map(Leaving::start);
                match leaving {
                    Some(_) => server.recent.turn(),
                    None => server.recent.clear(),
                }
            }
        }
    }
}

/// A connection that is being made.
struct Opening {
    connection: Pin<Box<dyn Future<Output = Connection> + Send>>,
    /// Whether requests may arrive on it already.
    subscribed: Arc<AtomicBool>,
}

impl Opening {
    fn start(agent: &Arc<Agent>) -> Self {
        let subscribed = Arc::<AtomicBool>::default();
        Self {
            connection: Box::pin(connect(agent.clone(), subscribed.clone())),
            subscribed,
        }
    }
}

fn has_subscribed(opening: &Option<Opening>) -> bool {
    opening
        .as_ref()
        .is_some_and(|opening| opening.subscribed.load(Ordering::Relaxed))
}

/// The connection that is being made; never, if none is.
async fn opened(opening: &mut Option<Opening>) -> Connection {
    match opening {
        Some(opening) => opening.connection.as_mut().await,
        None => std::future::pending().await,
    }
}

/// What a connection brings; never, if there is none.
async fn next(connection: &mut Option<Connection>) -> Option<Message> {
    match connection {
        Some(connection) => connection.requests.next().await,
        None => std::future::pending().await,
    }
}

/// A connection that was replaced and may still bring requests.
struct Leaving {
    requests: Subscriber,
    until: Instant,
}

impl Leaving {
    fn start(old: Connection) -> Self {
        let client = old.client;
        tokio::spawn(async move {
            tokio::time::sleep(OVERLAP).await;
            // One that is without its server ends by itself as soon as it is let go of.
            match tokio::time::timeout(LEAVE_DEADLINE, client.drain()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "leave the old NATS"),
                Err(_) => tracing::debug!("the old NATS takes no more"),
            }
        });
        Self {
            requests: old.requests,
            until: Instant::now() + OVERLAP + LEAVE_DEADLINE,
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

/// Which of two connections brought a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Current,
    Leaving,
}

/// Requests that one of two connections has brought and the other will bring too, remembered as long as there are two, and for
/// a moment after that: what both servers sent may be read from the one that stays when the other has ended already.
/// Callers may well use one reply subject for several requests that are the same: what the same connection brings twice
/// was sent twice.
#[derive(Debug, Default)]
struct Recent {
    /// Who brought it, and a hash of it.
    requests: VecDeque<(Side, u64)>,
    /// There is one connection again, and until then it may bring what the other one had brought.
    until: Option<Instant>,
}

fn hash(reply: Option<&str>, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (reply, payload).hash(&mut hasher);
    hasher.finish()
}

impl Recent {
    /// Whether the other connection has brought it; if not, it is remembered.
    fn is_double(&mut self, side: Side, reply: Option<&str>, payload: &[u8]) -> bool {
        let hash = hash(reply, payload);
        if self.forget(side, hash) {
            return true;
        }
        self.requests.truncate(MAX_RECENT - 1);
        self.requests.push_front((side, hash));
        false
    }

    /// Whether the connection that has ended had brought it.
    fn is_late(&mut self, reply: Option<&str>, payload: &[u8], now: Instant) -> bool {
        match self.until {
            None => false,
            Some(until) if now < until => self.forget(Side::Current, hash(reply, payload)),
            Some(_) => {
                self.clear();
                false
            }
        }
    }

    /// Forgets what the other connection than `side` brought; false if it did not.
    fn forget(&mut self, side: Side, hash: u64) -> bool {
        let known = |(other, known): &(Side, u64)| *other != side && *known == hash;
        let position = self.requests.iter().position(known);
        position.is_some_and(|position| self.requests.remove(position).is_some())
    }

    /// The current connection has become the one that leaves.
    fn turn(&mut self) {
        self.until = None;
        for (side, _) in &mut self.requests {
            *side = Side::Leaving;
        }
    }

    /// The one that leaves has ended.
    fn end(&mut self, until: Instant) {
        self.until = Some(until);
    }

    fn clear(&mut self) {
        self.requests.clear();
        self.until = None;
    }
}

struct Server {
    agent: Arc<Agent>,
    audit: Audit,
    permits: Arc<Semaphore>,
    recent: Recent,
}

impl Server {
    /// Answers a request; `doubled` if another connection may bring it too.
    async fn take(&mut self, message: Message, side: Side, doubled: bool) {
        let reply = message.reply.as_deref();
        let known = match doubled {
            true => self.recent.is_double(side, reply, &message.payload),
            false => self.recent.is_late(reply, &message.payload, Instant::now()),
        };
        if known {
            tracing::debug!("the same request by the other connection");
            return;
        }
        let mut request = match Request::parse(&message.payload) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request that is none"
                );
                self.audit.nats(
                    &self.agent.settings.get(),
                    &audit::Call {
                        subject: &message.subject,
                        failure: Some(&error.to_string()),
                        ..audit::Call::default()
                    },
                );
                return;
            }
        };
        self.audit.nats(
            &self.agent.settings.get(),
            &audit::Call {
                method: &request.method,
                reply_to: &request.reply_to,
                subject: &message.subject,
                failure: None,
            },
        );
        let mut reply_to = std::mem::take(&mut request.reply_to);
        if reply_to.is_empty() {
            reply_to = message
                .reply
                .map(|reply| reply.to_string())
                .unwrap_or_default();
        }
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return;
        };
        let agent = self.agent.clone();
        tokio::spawn(async move {
            let response = rpc::dispatch(&agent, request).await;
            if reply_to.is_empty() {
                tracing::debug!("nobody waits for the reply");
            } else {
                agent
                    .bus
                    .publish_bytes(reply_to, reply::encode(&response, MAX_REPLY))
                    .await;
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_double_only_if_the_other_connection_brought_it() {
        let mut recent = Recent::default();
        let double = |recent: &mut Recent, side, payload: &str| {
            recent.is_double(side, Some("director.1"), payload.as_bytes())
        };
        // The same again by the same connection is another request.
        assert!(!double(&mut recent, Side::Current, "a"));
        assert!(!double(&mut recent, Side::Current, "a"));
        recent.turn();
        assert!(double(&mut recent, Side::Current, "a"));
        assert!(double(&mut recent, Side::Current, "a"));
        assert!(!double(&mut recent, Side::Current, "a"));
        assert!(double(&mut recent, Side::Leaving, "a"));
        assert!(!double(&mut recent, Side::Leaving, "b"));
        assert!(!recent.is_double(Side::Current, Some("director.2"), b"b"));
        recent.clear();
        assert!(!double(&mut recent, Side::Leaving, "b"));
    }

    #[test]
    fn what_the_old_connection_brought_may_come_after_its_end() {
        let mut recent = Recent::default();
        let now = Instant::now();
        let late = |recent: &mut Recent, payload: &str, now| {
            recent.is_late(Some("director.1"), payload.as_bytes(), now)
        };
        for payload in ["a", "b"] {
            recent.is_double(Side::Leaving, Some("director.1"), payload.as_bytes());
        }
        assert!(!late(&mut recent, "a", now));
        recent.end(now + AFTERWARDS);
        assert!(late(&mut recent, "a", now));
        assert!(!late(&mut recent, "a", now), "it was sent again");
        assert!(!late(&mut recent, "b", now + AFTERWARDS));
        assert!(recent.requests.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for n in 0..1000u32 {
            recent.is_double(Side::Current, None, &n.to_le_bytes());
        }
        assert_eq!(recent.requests.len(), MAX_RECENT);
    }
}
