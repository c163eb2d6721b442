//! The connection to the message bus, and requests by their reply subjects.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bosh_protocol::{AgentId, Request, Response};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{Agent, Caller, Error};

/// How to reach the message bus.
#[derive(Clone, Debug)]
pub struct Options {
    /// `nats://host:port`
    pub url: String,
    /// PEM file of the CA that signed the server's certificate.
    pub server_ca: PathBuf,
    /// PEM file of the director's certificate.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub private_key: PathBuf,
    /// How long a reply may take.
    pub timeout: Duration,
}

/// The connection to the message bus. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    nats: async_nats::Client,
    /// `director.<id of this process>`
    inbox: String,
    timeout: Duration,
    pending: Mutex<HashMap<String, Pending>>,
    blobstore: Option<bosh_blobstore::Store>,
}

struct Pending {
    reply: oneshot::Sender<Response>,
    log: Option<Arc<dyn Caller>>,
}

/// How long a reply may take unless a method says otherwise. Upstream: 45 s.
pub(super) const TIMEOUT: Duration = Duration::from_secs(45);

impl Options {
    /// Upstream's time-out, and the files of director.yml.
    pub fn new(nats: &crate::config::Nats) -> Self {
        Self {
            url: nats.url.clone(),
            server_ca: nats.server_ca.clone(),
            certificate: nats.client.certificate.clone(),
            private_key: nats.client.private_key.clone(),
            timeout: TIMEOUT,
        }
    }
}

impl Client {
    /// Connects, and goes on trying in the background when nobody listens yet: calls then time out one by one.
    ///
    /// `blobstore` is where agents leave parts of an answer that are too long for the bus.
    pub async fn connect(
        options: &Options,
        blobstore: Option<bosh_blobstore::Store>,
    ) -> Result<Self, Error> {
        let tls = crate::nats::client_tls(
            &options.server_ca,
            &options.certificate,
            &options.private_key,
        )
        .map_err(|e| Error::bus("load certificates", e))?;
        let nats = async_nats::ConnectOptions::new()
            .name("director")
            .require_tls(true)
            .tls_client_config(tls)
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 << attempts.min(5)).min(Duration::from_secs(1))
            })
            .event_callback(|event| async move {
                tracing::info!(%event, "message bus");
            })
            .connect(&options.url)
            .await
            .map_err(|e| Error::bus("connect", e))?;
        let inbox = format!("director.{}", Uuid::new_v4());
        let mut replies = nats
            .subscribe(format!("{inbox}.>"))
            .await
            .map_err(|e| Error::bus("subscribe", e))?;
        let shared = Arc::new(Shared {
            nats,
            inbox,
            timeout: options.timeout,
            pending: Mutex::default(),
            blobstore,
        });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(message) = replies.next().await {
                let Some(shared) = weak.upgrade() else { return };
                shared.received(message.subject.as_str(), &message.payload);
            }
        });
        Ok(Self(shared))
    }

    /// One agent as `caller` sees it. `instance` is `group/id`, for messages.
    pub fn agent(
        &self,
        agent_id: &AgentId,
        instance: impl Into<String>,
        caller: Arc<dyn Caller>,
    ) -> Agent {
        Agent::new(self.clone(), agent_id.clone(), instance.into(), caller)
    }

    /// Whether the connection is there right now.
    pub fn is_connected(&self) -> bool {
        self.0.nats.connection_state() == async_nats::connection::State::Connected
    }

    /// Tells the health monitor something: publishes JSON to `hm.director.alert`.
    pub async fn alert_health_monitor(&self, alert: &Value) -> Result<(), Error> {
        let payload = alert.to_string();
        tracing::debug!("SENT: hm.director.alert {payload}");
        self.0
            .nats
            .publish("hm.director.alert", payload.into())
            .await
            .map_err(|e| Error::bus("publish", e))
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(super) fn blobstore(&self) -> Option<&bosh_blobstore::Store> {
        self.0.blobstore.as_ref()
    }

    /// Registers a request and makes its message.
    pub(super) fn prepare(
        &self,
        agent_id: &AgentId,
        method: &str,
        arguments: Vec<Value>,
        log: Option<Arc<dyn Caller>>,
    ) -> Call {
        let id = Uuid::new_v4().to_string();
        let reply_to = format!("{}.{agent_id}.{id}", self.0.inbox);
        let subject = format!("agent.{agent_id}");
        let request = Request::new(method, arguments, reply_to);
        let payload = serde_json::to_string(&request).expect("a request has string keys only");
        if let Some(log) = &log {
            log.debug(&format!(
                "SENT: {subject} {}",
                sanitized(&request, &payload)
            ));
        }
        let (sender, receiver) = oneshot::channel();
        self.0
            .pending()
            .insert(id.clone(), Pending { reply: sender, log });
        Call {
            client: self.clone(),
            id,
            subject,
            payload: payload.into(),
            reply: receiver,
        }
    }
}

/// A request that waits for its reply; dropping it stops waiting.
pub(super) struct Call {
    client: Client,
    id: String,
    subject: String,
    payload: bytes::Bytes,
    reply: oneshot::Receiver<Response>,
}

impl Call {
    /// Sends the message; may be repeated, the first reply counts.
    pub(super) async fn send(&self) -> Result<(), Error> {
        self.client
            .0
            .nats
            .publish(self.subject.clone(), self.payload.clone())
            .await
            .map_err(|e| Error::bus("publish", e))
    }

    /// Waits for the reply; `None` when there was none in time.
    pub(super) async fn reply(&mut self, timeout: Duration) -> Option<Response> {
        match tokio::time::timeout(timeout, &mut self.reply).await {
            Ok(Ok(response)) => Some(response),
            // The sender is only dropped with the client.
            Ok(Err(_)) | Err(_) => None,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.client.0.pending().remove(&self.id);
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self, subject: &str, payload: &[u8]) {
        let Some(id) = subject.rsplit('.').next() else {
            return;
        };
        let Some(pending) = self.pending().remove(id) else {
            return;
        };
        if let Some(log) = &pending.log {
            log.debug(&format!(
                "RECEIVED: {subject} {}",
                String::from_utf8_lossy(payload)
            ));
        }
        match serde_json::from_slice(payload) {
            // Nobody waits any more when this fails: the caller gave up in the same moment.
            Ok(response) => drop(pending.reply.send(response)),
            Err(error) => {
                tracing::warn!(subject, %error, "reply of an agent is not valid");
                let message = format!("invalid reply: {error}");
                drop(pending.reply.send(Response::exception(message)));
            }
        }
    }
}

/// The message as it may be logged.
fn sanitized<'a>(request: &Request, payload: &'a str) -> std::borrow::Cow<'a, str> {
    let hidden: &[&str] = match request.method.as_str() {
        "upload_blob" => &["checksum", "payload"],
        "update_settings" => &["mbus", "blobstores"],
        _ => return payload.into(),
    };
    let mut request = request.clone();
    if let Some(Value::Object(argument)) = request.arguments.first_mut() {
        for key in hidden {
            if argument.contains_key(*key) {
                argument.insert((*key).to_string(), json!("<redacted>"));
            }
        }
    }
    serde_json::to_string(&request)
        .expect("a request has string keys only")
        .into()
}
