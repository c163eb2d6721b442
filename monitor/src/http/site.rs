//! The routes.

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get};
use tokio::net::TcpListener;

use super::{api, auth, live, metrics, page, probes};
use crate::config::Login;
use crate::notify::Stats;
use crate::notify::silence::Silences;
use crate::service::{Count, Handle};

/// What the answers are made of.
#[derive(Clone)]
pub struct Site {
    /// The service.
    pub service: Handle,
    /// Who may see the status page; nobody without.
    pub login: Option<Login>,
    /// The silences.
    pub silences: Silences,
    /// What became of events in the plugins.
    pub plugins: Stats,
}

/// The largest body that is read: a silence.
const MAX_BODY: usize = 64 * 1024;

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, site: Site) {
    if let Err(error) = axum::serve(listener, router(site)).await {
        tracing::error!("the HTTP interface has ended: {error}");
    }
}

fn router(site: Site) -> Router {
    let count = |count: Count| {
        let counted = move |state| probes::counted(state, count);
        get(counted)
    };
    let open = Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/unresponsive_agents", count(Count::UnresponsiveAgents))
        .route("/unhealthy_agents", count(Count::UnhealthyAgents))
        .route(
            "/total_available_agents",
            count(Count::TotalAvailableAgents),
        )
        .route("/failing_instances", count(Count::FailingInstances))
        .route("/stopped_instances", count(Count::StoppedInstances))
        .route("/unknown_instances", count(Count::UnknownInstances))
        .route("/metrics", get(metrics::answer));
    let guarded = Router::new()
        .route("/", get(page::index))
        .route("/app.js", get(page::script))
        .route("/style.css", get(page::style))
        .route("/events", get(live::events))
        .route("/api/overview", get(api::overview))
        .route("/api/deployments/{name}", get(api::instances))
        .route("/api/alerts", get(api::alerts))
        .route("/api/plugins", get(api::plugins))
        .route("/api/silences", get(api::silences).post(api::silence))
        .route("/api/silences/{id}", delete(api::end_silence))
        .layer(from_fn(page::headers))
        .layer(from_fn_with_state(site.clone(), auth::guard));
    open.merge(guarded)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .with_state(site)
}
