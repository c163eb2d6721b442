//! What probes and the director's metrics server read, in plain HTTP on 127.0.0.1. Source: upstream's api_controller.rb.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;

use crate::service::{Count, Handle};

/// How long the service may take to answer before it counts as stuck. Upstream gives its event loop as long.
const PULSE_TIMEOUT: Duration = Duration::from_secs(180);

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, service: Handle) {
    let count = |count: Count| get(move |State(service): State<Handle>| counted(service, count));
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/unresponsive_agents", count(Count::UnresponsiveAgents))
        .route("/unhealthy_agents", count(Count::UnhealthyAgents))
        .route(
            "/total_available_agents",
            count(Count::TotalAvailableAgents),
        )
        .route("/failing_instances", count(Count::FailingInstances))
        .route("/stopped_instances", count(Count::StoppedInstances))
        .route("/unknown_instances", count(Count::UnknownInstances))
        .with_state(service);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!("the HTTP interface has ended: {error}");
    }
}

async fn healthz(State(service): State<Handle>) -> (StatusCode, String) {
    let asked = Instant::now();
    let beats = service.pulse(PULSE_TIMEOUT).await;
    let status = if beats {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (
        status,
        format!(
            "Last pulse was {} seconds ago",
            asked.elapsed().as_secs_f64()
        ),
    )
}

async fn counted(service: Handle, count: Count) -> Response {
    match service.count(count).await {
        Some(counted) => Json(counted).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
