//! Replies that are a list from the database, kept for as long as the database does not change: those that dashboards and
//! exporters ask for again and again, most of the time in vain.
//!
//! Nothing has to say what it invalidates: [`Db::version`](crate::db::Db::version) sees every commit, also another process's. On
//! PostgreSQL, which has no such sign, nothing is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::auth::{Asking, User};
use crate::app::Director;
use crate::db::Version;

/// Lists that say nothing but what is in the database.
const KEPT: [&str; 4] = ["/deployments", "/tasks", "/releases", "/stemcells"];
/// Largest reply kept, and most of them.
const LARGEST: u64 = 1024 * 1024;
const MOST: usize = 64;

/// Kept replies of one director.
#[derive(Clone)]
pub(super) struct Memory {
    director: Director,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Default)]
struct Shelf {
    version: Option<Version>,
    replies: HashMap<(String, User), Bytes>,
}

impl Shelf {
    fn find(&self, version: Version, key: &(String, User)) -> Option<Bytes> {
        (self.version == Some(version)).then(|| self.replies.get(key).cloned())?
    }

    /// `version` is of before the reply was made: if something was committed since then, nobody will ask for it again.
    fn keep(&mut self, version: Version, key: (String, User), reply: Bytes) {
        if self.version != Some(version) {
            self.replies.clear();
            self.version = Some(version);
        }
        if self.replies.len() < MOST {
            self.replies.insert(key, reply);
        }
    }
}

impl Memory {
    pub(super) fn new(director: Director) -> Self {
        Self {
            director,
            shelf: Arc::default(),
        }
    }
}

/// Answers from memory, or remembers what was answered.
pub(super) async fn remember(
    State(memory): State<Memory>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let asked = key(&request).and_then(|key| Some((memory.director.db.version()?, key)));
    let Some((version, key)) = asked else {
        return next.run(request).await;
    };
    let lock = || memory.shelf.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reply) = lock().find(version, &key) {
        return json(reply);
    }
    let response = next.run(request).await;
    let small = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| size <= LARGEST);
    if response.status() != StatusCode::OK || !small {
        return response;
    }
    let (parts, body) = response.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(reply) => {
            lock().keep(version, key, reply.clone());
            Response::from_parts(parts, Body::from(reply))
        }
        // A body in memory does not fail; one that does is no reply.
        Err(error) => {
            tracing::error!(%error, "reply not read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn key(request: &axum::extract::Request) -> Option<(String, User)> {
    if request.method() != Method::GET || !KEPT.contains(&request.uri().path()) {
        return None;
    }
    let user = request.extensions().get::<Asking>()?.0.clone()?;
    let query = request.uri().query().unwrap_or_default();
    Some((format!("{}?{query}", request.uri().path()), user))
}

fn json(reply: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], reply).into_response()
}
