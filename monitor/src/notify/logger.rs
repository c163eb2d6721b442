//! `logger`: events into the monitor's own log. Source: upstream's plugins/logger.rb.

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Plugin;
use crate::event::Event;

#[derive(Deserialize)]
pub(super) struct Options {
    format: Option<String>,
}

pub(super) struct Logger {
    json: bool,
}

impl Logger {
    pub(super) fn new(options: Options) -> Result<Self, String> {
        match options.format.as_deref() {
            None => Ok(Self { json: false }),
            Some("json") => Ok(Self { json: true }),
            Some(other) => Err(format!("format: expected json, found {other}")),
        }
    }
}

#[async_trait]
impl Plugin for Logger {
    async fn run(self: Box<Self>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                event if self.json => tracing::info!("{}", event.to_json()),
                Event::Alert(alert) => tracing::info!("[ALERT] {alert}"),
                Event::Heartbeat(heartbeat) => tracing::info!("[HEARTBEAT] {heartbeat}"),
            }
        }
    }
}
