//! What the status page is told as it happens: server-sent events. `overview` every few seconds, `alert` at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Site, api};
use crate::service::{Feed, Handle};

/// Between two overviews.
const EVERY: Duration = Duration::from_secs(2);

/// How many may look at once.
const VIEWERS: usize = 64;

static LOOKING: AtomicUsize = AtomicUsize::new(0);

/// One that looks; counted until it no longer does.
struct Viewer;

impl Viewer {
    fn new() -> Option<Self> {
        if LOOKING.fetch_add(1, Ordering::Relaxed) < VIEWERS {
            return Some(Self);
        }
        LOOKING.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        LOOKING.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Looking {
    service: Handle,
    feed: Feed,
    due: Interval,
    _viewer: Viewer,
}

pub(super) async fn events(State(site): State<Site>) -> Response {
    let Some(viewer) = Viewer::new() else {
        let text = "Too many are looking already.\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = Looking {
        feed: site.service.feed(),
        service: site.service,
        due,
        _viewer: viewer,
    };
    let events = stream::unfold(looking, |mut looking| async move {
        let event = looking.next().await?;
        Some((Ok::<_, Infallible>(event), looking))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}

impl Looking {
    /// What happens next; `None` when the monitor stops.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            _ = self.due.tick() => {
                let overview = self.service.overview().await?;
                let text = serde_json::to_string(&overview).unwrap_or_default();
                Some(Event::default().event("overview").data(text))
            }
            alert = self.feed.recv() => match alert {
                Ok(alert) => {
                    let text = api::shown(&Arc::unwrap_or_clone(alert), false).to_string();
                    Some(Event::default().event("alert").data(text))
                }
                // It asks for the list instead.
                Err(RecvError::Lagged(_)) => Some(Event::default().event("missed").data("{}")),
                Err(RecvError::Closed) => None,
            },
        }
    }
}
