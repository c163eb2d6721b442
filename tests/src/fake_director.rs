//! A director that is fake: it lists instances, keeps what a health monitor sends it, and may be down or want the tokens of a
//! UAA, which it is too. For tests and benches of the monitor alone; everything else meets the real one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
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
    /// Answers everything with 500.
    pub down: bool,
    /// Where set, only tokens will do, and each is good for so many seconds.
    pub token_lifetime: Option<u64>,
    /// How many tokens were given.
    pub tokens: u64,
    /// How often the deployments were asked for.
    pub polls: u64,
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
                .route("/info", get(info))
                .route("/oauth/token", post(token))
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
                .layer(axum::middleware::from_fn_with_state(this.clone(), gate))
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

/// Lets through what is asked as it ought to be, while the director is up.
async fn gate(State(this): Shared, request: Request, next: Next) -> Response {
    let open = ["/info", "/oauth/token"].contains(&request.uri().path());
    let given = request.headers().get("authorization").cloned();
    let expected = {
        let known = this.known();
        if known.down {
            return (StatusCode::INTERNAL_SERVER_ERROR, "down").into_response();
        }
        match known.token_lifetime {
            Some(_) => format!("bearer token-{}", known.tokens),
            None => BASIC.to_owned(),
        }
    };
    if !open && given.is_none_or(|given| given != expected.as_str()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

/// `hm:hm`
const BASIC: &str = "Basic aG06aG0=";

async fn info(State(this): Shared) -> Json<Value> {
    let authentication = match this.known().token_lifetime {
        Some(_) => json!({ "type": "uaa", "options": { "url": format!("http://{}", this.addr) } }),
        None => json!({ "type": "basic", "options": {} }),
    };
    Json(json!({ "user_authentication": authentication }))
}

async fn token(State(this): Shared, headers: HeaderMap, body: String) -> Response {
    let mut known = this.known();
    let client = headers
        .get("authorization")
        .is_some_and(|given| given == BASIC);
    let granted = known
        .token_lifetime
        .filter(|_| client && body == "grant_type=client_credentials");
    let Some(lifetime) = granted else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    known.tokens += 1;
    let token = format!("token-{}", known.tokens);
    Json(json!({ "token_type": "bearer", "access_token": token, "expires_in": lifetime }))
        .into_response()
}

async fn deployments(this: Shared) -> Json<Value> {
    this.known().polls += 1;
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
