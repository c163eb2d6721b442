//! A listener that keeps every JSON document it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use axum::{Json, Router, extract::State, http::StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived.
    pub at: Instant,
    /// Its body.
    pub body: Value,
}

type Calls = Arc<Mutex<Vec<Call>>>;

/// The running listener; it stops with the runtime it was started on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens.
    pub addr: SocketAddr,
    calls: Calls,
}

impl Listener {
    /// Listens on a free port of 127.0.0.1, on any path.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("binding the webhook listener")?;
        let this = Self {
            addr: listener.local_addr()?,
            calls: Calls::default(),
        };
        let app = Router::new().fallback(keep).with_state(this.calls.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("webhook listener stopped: {error}");
            }
        });
        Ok(this)
    }

    /// All that has arrived so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn keep(State(calls): State<Calls>, Json(body): Json<Value>) -> StatusCode {
    calls
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Call {
            at: Instant::now(),
            body,
        });
    StatusCode::OK
}
