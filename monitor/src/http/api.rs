//! What the status page reads and sets: JSON.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Site;
use crate::event::Alert;
use crate::notify::silence::{Invalid, Request};

/// An answer of the service, or 503 while it stops.
fn answered(answer: Option<impl serde::Serialize>) -> Response {
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

pub(super) async fn overview(State(site): State<Site>) -> Response {
    answered(site.service.overview().await)
}

pub(super) async fn instances(State(site): State<Site>, Path(name): Path<String>) -> Response {
    match site.service.instances(&name).await {
        Some(instances) => Json(instances).into_response(),
        None => (StatusCode::NOT_FOUND, "There is no such deployment.\n").into_response(),
    }
}

/// `{"current": [...], "past": [...]}`: what is wrong now, and what came last, newest first.
pub(super) async fn alerts(State(site): State<Site>) -> Response {
    let alerts = site.service.alerts().await.map(|(mut current, past)| {
        current.sort_by_key(|alert| (alert.severity, std::cmp::Reverse(alert.created_at)));
        let silenced = |alert: &Alert| site.silences.silenced(alert, now());
        let current: Vec<_> = current
            .iter()
            .map(|alert| shown(alert, silenced(alert)))
            .collect();
        let past: Vec<_> = past.iter().map(|alert| shown(alert, false)).collect();
        json!({ "current": current, "past": past })
    });
    answered(alerts)
}

/// An alert as the page shows it.
pub(super) fn shown(alert: &Alert, silenced: bool) -> Value {
    json!({
        "id": alert.id,
        "key": alert.key,
        "status": alert.status,
        "severity": alert.severity,
        "title": alert.title,
        "summary": alert.summary,
        "source": alert.source,
        "deployment": alert.deployment,
        "job": alert.job,
        "instance_id": alert.instance_id,
        "created_at": alert.created_at,
        "silenced": silenced,
    })
}

pub(super) async fn plugins(State(site): State<Site>) -> Response {
    let plugins = site.plugins.plugins().into_iter().map(|plugin| {
        json!({
            "id": plugin.id, "name": plugin.name, "queued": plugin.queued, "spooled": plugin.spooled,
            "delivered": plugin.delivered, "failed": plugin.failed, "lost": plugin.lost,
        })
    });
    Json(plugins.collect::<Vec<_>>()).into_response()
}

pub(super) async fn silences(State(site): State<Site>) -> Response {
    Json(site.silences.list(now())).into_response()
}

pub(super) async fn silence(State(site): State<Site>, Json(request): Json<Request>) -> Response {
    match site.silences.add(request, now()) {
        Ok(silence) => (StatusCode::CREATED, Json(silence)).into_response(),
        Err(error) => refused(&error),
    }
}

pub(super) async fn end_silence(State(site): State<Site>, Path(id): Path<String>) -> Response {
    match site.silences.end(&id, now()) {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => (StatusCode::NOT_FOUND, "There is no such silence.\n").into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &Invalid) -> Response {
    let status = match error {
        Invalid::Kept(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, format!("{error}\n")).into_response()
}
