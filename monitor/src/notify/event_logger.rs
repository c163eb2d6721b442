//! `event_logger`: alerts into the director's own events. Source: upstream's plugins/event_logger.rb.

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Plugin;
use crate::config::DirectorOptions;
use crate::director::{Director, Error};
use crate::event::{Alert, Event};
use crate::sync::chain;

#[derive(Deserialize)]
pub(super) struct Options {
    director: DirectorOptions,
}

pub(super) struct EventLogger {
    director: Director,
}

impl EventLogger {
    pub(super) fn new(options: Options) -> Result<Self, Error> {
        Ok(Self {
            director: Director::new(&options.director)?,
        })
    }
}

fn payload(alert: &Alert) -> Value {
    let instance = alert
        .job
        .as_ref()
        .zip(alert.instance_id.as_ref())
        .map(|(job, id)| format!("{job}/{id}"));
    json!({
        "timestamp": alert.created_at.to_string(),
        "action": "create",
        "object_type": "alert",
        "object_name": alert.id,
        "deployment": alert.deployment,
        "instance": instance,
        "context": { "message": format!("{}. {alert}", alert.title) },
    })
}

#[async_trait]
impl Plugin for EventLogger {
    async fn run(self: Box<Self>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let Event::Alert(alert) = event else { continue };
            if let Err(error) = self
                .director
                .send(Method::POST, "/events", Some(&payload(&alert)))
                .await
            {
                tracing::error!(alert = alert.id, "event_logger: {}", chain(&error));
            }
        }
    }
}
