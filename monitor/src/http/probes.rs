//! What probes and the director's metrics server read. Source: upstream's api_controller.rb.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Site;
use crate::service::Count;

/// How long the service may take to answer before it counts as stuck. Upstream gives its event loop as long.
const PULSE_TIMEOUT: Duration = Duration::from_secs(180);

pub(super) async fn healthz(State(site): State<Site>) -> (StatusCode, String) {
    let asked = Instant::now();
    let beats = site.service.pulse(PULSE_TIMEOUT).await;
    let status = if beats {
        StatusCode::OK
    } else {
        tracing::error!(
            "PULSE TIMEOUT REACHED: queued jobs are not processing in a timely fashion"
        );
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let waited = asked.elapsed().as_secs_f64();
    (status, format!("Last pulse was {waited} seconds ago"))
}

/// Deployment -> number; 503 until the director has been heard. Upstream's server leaves the type of such a text at HTML.
pub(super) async fn counted(State(site): State<Site>, count: Count) -> Response {
    match site.service.count(count).await {
        Some(counted) => {
            let body = serde_json::Value::from(counted).to_string();
            ([(header::CONTENT_TYPE, "text/html;charset=utf-8")], body).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
