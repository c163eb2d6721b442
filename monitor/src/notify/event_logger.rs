//! `event_logger`: alerts into the director's own events. Source: upstream's plugins/event_logger.rb.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::target::{Failure, Manner, Target};
use crate::config::DirectorOptions;
use crate::director::{Director, Error};
use crate::event::{Alert, Heartbeat};
use crate::sync::chain;

#[derive(Deserialize)]
pub(super) struct Options {
    director: DirectorOptions,
    http_proxy: Option<String>,
}

pub(super) struct EventLogger {
    director: Director,
}

pub(super) fn new(options: Options) -> Result<(EventLogger, Manner), String> {
    let proxy = options
        .http_proxy
        .as_deref()
        .filter(|proxy| !proxy.is_empty());
    let director = Director::through(&options.director, proxy)
        .map_err(|error| format!("director: {}", chain(&error)))?;
    Ok((EventLogger { director }, Manner::default()))
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
impl Target for EventLogger {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            let payload = payload(alert);
            let sent = self.director.send(Method::POST, "/events", Some(&payload));
            sent.await.map_err(|error| match error {
                Error::Status { status, .. } if status == 400 || status == 422 => {
                    Failure::Refused(chain(&error))
                }
                error => Failure::retry(chain(&error)),
            })?;
        }
        Ok(())
    }

    async fn heartbeats(&mut self, _: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_upstreams() {
        let alert = Alert {
            id: "foo".into(),
            deployment: Some("d".into()),
            job: Some("j".into()),
            instance_id: Some("i".into()),
            ..Alert::new(2, "Alert", 1_320_196_099)
        };
        let expected = r#"{"timestamp":"1320196099","action":"create","object_type":"alert","object_name":"foo","deployment":"d","instance":"j/i","context":{"message":"Alert. Alert @ 2011-11-02 01:08:19 UTC, severity 2: Alert"}}"#;
        assert_eq!(payload(&alert).to_string(), expected);
        assert_eq!(
            payload(&Alert { job: None, ..alert })["instance"],
            Value::Null
        );
    }
}
