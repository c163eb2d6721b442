//! A director that is fake: it lists instances, and keeps what a health monitor sends it. For tests and benches of the monitor
//! alone; everything else meets the real one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What it says and what it was told.
#[derive(Debug, Default)]
pub struct Known {
    /// `GET /deployments/NAME/instances`, for any name.
    pub instances: Vec<Value>,
    /// Whether the deployment is being changed.
    pub locked: bool,
    /// `GET /tasks`.
    pub tasks: Vec<Value>,
    /// The `content` of the resurrection configs.
    pub resurrection: Vec<String>,
    /// Bodies of `POST /events`.
    pub events: Vec<Value>,
    /// Bodies of `PUT /deployments/NAME/scan_and_fix`.
    pub scans: Vec<Value>,
}

/// The running fake; it stops with the runtime it was started on. Its one deployment is `dep`.
#[derive(Clone, Debug)]
pub struct FakeDirector {
    /// Where it listens, in plain HTTP.
    pub addr: SocketAddr,
    known: Arc<Mutex<Known>>,
}

type Shared = State<FakeDirector>;

impl FakeDirector {
    /// Listens on a free port of 127.0.0.1.
    pub async fn start(known: Known) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("binding the fake director")?;
        let this = Self {
            addr: listener.local_addr()?,
            known: Arc::new(Mutex::new(known)),
        };
        let app =
            Router::new()
                .route(
                    "/info",
                    get(|| async {
                        Json(json!({ "user_authentication": { "type": "basic", "options": {} } }))
                    }),
                )
                .route("/deployments", get(deployments))
                .route(
                    "/deployments/{name}/instances",
                    get(|this: Shared, _: Path<String>| async move {
                        Json(this.known().instances.clone())
                    }),
                )
                .route("/configs", get(configs))
                .route(
                    "/tasks",
                    get(|this: Shared| async move { Json(this.known().tasks.clone()) }),
                )
                .route(
                    "/events",
                    post(|this: Shared, Json(body): Json<Value>| async move {
                        this.known().events.push(body)
                    }),
                )
                .route("/deployments/{name}/scan_and_fix", put(scan))
                .with_state(this.clone());
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the fake director stopped: {error}");
            }
        });
        Ok(this)
    }

    /// What it says and was told, to look at and to change.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn deployments(this: Shared) -> Json<Value> {
    Json(json!([{ "name": "dep", "teams": [], "locked": this.known().locked }]))
}

async fn configs(this: Shared) -> Json<Value> {
    Json(
        this.known()
            .resurrection
            .iter()
            .map(|content| json!({ "content": content }))
            .collect(),
    )
}

async fn scan(this: Shared, _: Path<String>, Json(body): Json<Value>) -> StatusCode {
    this.known().scans.push(body);
    StatusCode::FOUND
}

/// An instance of the group `web` with a VM and an agent.
pub fn instance(index: u64) -> Value {
    json!({ "id": format!("{index:08x}-1111-4000-8000-000000000000"), "agent_id": agent_id(index), "job": "web", "index": index, "cid": format!("vm-{index}"), "expects_vm": true })
}

/// The agent of [`instance`]`(index)`.
pub fn agent_id(index: u64) -> String {
    format!("{index:08x}-0000-4000-8000-000000000000")
}
