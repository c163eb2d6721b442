//! A listener that keeps every request it is sent, and answers as it is told.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use axum::extract::Request;
use axum::{Router, extract::State, http::StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// `POST` and the like.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Its headers, their names in small letters.
    pub headers: HashMap<String, String>,
    /// Its body as it came.
    pub text: String,
    /// Its body, where that is JSON; null where it is not.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Kept {
    calls: Vec<Call>,
    /// What to answer next, and with what header; 200 when there is nothing left.
    answers: VecDeque<(u16, Option<(String, String)>)>,
}

/// The running listener; it stops with the runtime it was started on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens.
    pub addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Listener {
    /// Listens on a free port of 127.0.0.1, on any path.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(0).await
    }

    /// The same on this port.
    pub async fn start_on(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .context("binding the webhook listener")?;
        let this = Self {
            addr: listener.local_addr()?,
            kept: Arc::default(),
        };
        let app = Router::new().fallback(keep).with_state(this.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("webhook listener stopped: {error}");
            }
        });
        Ok(this)
    }

    /// All that has arrived so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.kept().calls.clone()
    }

    /// Answers the next requests with these statuses.
    pub fn answer(&self, statuses: impl IntoIterator<Item = u16>) {
        let answers = statuses.into_iter().map(|status| (status, None));
        self.kept().answers.extend(answers);
    }

    /// Answers one of the next requests with this status and a header.
    pub fn answer_with(&self, status: u16, name: &str, value: &str) {
        let header = (name.to_owned(), value.to_owned());
        self.kept().answers.push_back((status, Some(header)));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(
    State(listener): State<Listener>,
    request: Request,
) -> Result<axum::response::Response, StatusCode> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20)
        .await
        .map_err(|_| StatusCode::BAD_REQUEST)?;
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    let path = parts.uri.path_and_query().map(ToString::to_string);
    let call = Call {
        at: Instant::now(),
        method: parts.method.to_string(),
        path: path.unwrap_or_default(),
        headers: headers.collect(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    let mut kept = listener.kept();
    kept.calls.push(call);
    let (status, header) = kept.answers.pop_front().unwrap_or((200, None));
    let mut response = axum::response::Response::builder().status(status);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response
        .body(axum::body::Body::empty())
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
