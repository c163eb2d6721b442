//! `pagerduty`: incidents by the legacy API (`service_key`), or by the Events API v2 (`routing_key`), which resolves them as
//! well. Source of the legacy one: upstream's plugins/pagerduty.rb.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, Way};
use super::target::{Failure, Manner, Target};
use super::words::{cut, hostname, rfc3339};
use crate::event::{Alert, Event, Heartbeat, Status};

const LEGACY: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
const V2: &str = "https://events.pagerduty.com/v2/enqueue";

/// What the API takes at the most, in characters.
const SUMMARY: usize = 1_024;
const DEDUP_KEY: usize = 255;

#[derive(Deserialize)]
pub(super) struct Options {
    service_key: Option<String>,
    /// Ours, and so is what follows but for the proxy.
    routing_key: Option<String>,
    url: Option<String>,
    http_proxy: Option<String>,
}

impl Options {
    pub(super) fn is_v2(&self) -> bool {
        self.routing_key.is_some()
    }
}

enum Api {
    Legacy {
        service_key: String,
        /// Whether incidents are to be resolved: then they are known by what the alert is about, not by its id.
        resolves: bool,
    },
    V2 {
        routing_key: String,
    },
}

pub(super) struct Pagerduty {
    http: reqwest::Client,
    url: Url,
    api: Api,
}

pub(super) fn new(options: Options, recovery: Option<bool>) -> Result<(Pagerduty, Manner), String> {
    let v2 = options.is_v2();
    let api = match (options.service_key, options.routing_key) {
        (Some(service_key), None) if !service_key.is_empty() => Api::Legacy {
            service_key,
            resolves: recovery == Some(true),
        },
        (None, Some(routing_key)) if !routing_key.is_empty() => Api::V2 { routing_key },
        _ => {
            return Err(
                "service_key: expected a key, or routing_key instead for the Events API v2"
                    .to_owned(),
            );
        }
    };
    let default = if v2 { V2 } else { LEGACY };
    let url = http::url("url", options.url.as_deref().unwrap_or(default))?;
    let way = Way {
        proxy: options.http_proxy,
        ..Way::default()
    };
    let pagerduty = Pagerduty {
        http: http::client(&url, &way)?,
        url,
        api,
    };
    let manner = Manner {
        mergeable: false,
        recovery: v2,
        acknowledgements: v2,
        ..Manner::default()
    };
    Ok((pagerduty, manner))
}

fn legacy(service_key: &str, resolves: bool, event: &Event) -> Value {
    let (id, description, resolved) = match event {
        Event::Alert(alert) => {
            let key = alert.key.as_ref().filter(|_| resolves);
            let id = match key {
                Some(key) => Value::from(key.as_str()),
                None => alert.to_hash()["id"].clone(),
            };
            (
                id,
                alert.short_description(),
                alert.status == Status::Resolved,
            )
        }
        Event::Heartbeat(heartbeat) => (heartbeat.id.as_str().into(), heartbeat.to_string(), false),
    };
    json!({
        "service_key": service_key,
        "event_type": if resolved { "resolve" } else { "trigger" },
        "incident_key": id,
        "description": description,
        "details": event.to_hash(),
    })
}

fn v2(routing_key: &str, host: &str, alert: &Alert) -> Value {
    let dedup_key = cut(alert.key.as_deref().unwrap_or(&alert.id), DEDUP_KEY);
    let action = match alert.status {
        Status::Firing => "trigger",
        Status::Acknowledged => "acknowledge",
        Status::Resolved => "resolve",
    };
    let mut event = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": dedup_key,
    });
    if alert.status == Status::Firing {
        let severity = match alert.severity {
            1 | 2 => "critical",
            3 => "error",
            4 => "warning",
            _ => "info",
        };
        let summary = match alert.summary == alert.title {
            true => alert.title.clone(),
            false => format!("{}: {}", alert.title, alert.summary),
        };
        let component = match (&alert.job, &alert.instance_id) {
            (Some(job), Some(id)) => Some(format!("{job}/{id}")),
            (job, _) => job.clone(),
        };
        event["payload"] = json!({
            "summary": cut(&summary, SUMMARY),
            "source": alert.source.as_deref().unwrap_or(host),
            "severity": severity,
            "timestamp": rfc3339(alert.created_at),
            "component": component,
            "group": alert.deployment,
            "class": alert.category.map(crate::event::Category::name),
            "custom_details": alert.to_json(),
        });
        event["client"] = "BOSH Health Monitor".into();
    }
    event
}

impl Pagerduty {
    async fn send(&self, body: &Value) -> Result<(), Failure> {
        http::send(self.http.post(self.url.clone()).json(body)).await
    }
}

#[async_trait]
impl Target for Pagerduty {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            let body = match &self.api {
                Api::Legacy {
                    service_key,
                    resolves,
                } => legacy(service_key, *resolves, &Event::Alert(alert.clone())),
                Api::V2 { routing_key } => v2(routing_key, &hostname(), alert),
            };
            self.send(&body).await?;
        }
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        for heartbeat in heartbeats {
            if let Api::Legacy { service_key, .. } = &self.api {
                let event = Event::Heartbeat(heartbeat.clone());
                self.send(&legacy(service_key, false, &event)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Category;

    fn alert(status: Status) -> Alert {
        Alert {
            id: "id-1".into(),
            summary: "it does not answer".into(),
            source: Some("dep: web(i-1)".into()),
            deployment: Some("dep".into()),
            job: Some("web".into()),
            instance_id: Some("i-1".into()),
            category: Some(Category::VmHealth),
            key: Some("agents/a-1".into()),
            status,
            ..Alert::new(2, "a-1 has timed out", 1_320_196_099)
        }
    }

    #[test]
    fn the_legacy_event_is_upstreams() {
        let event = legacy(
            "zbzb",
            false,
            &Event::Alert(Arc::new(alert(Status::Firing))),
        );
        let expected = r#"{"service_key":"zbzb","event_type":"trigger","incident_key":"id-1","description":"Severity 2: dep: web(i-1) a-1 has timed out","details":{"kind":"alert","id":"id-1","severity":2,"category":"vm_health","title":"a-1 has timed out","summary":"it does not answer","source":"dep: web(i-1)","deployment":"dep","created_at":1320196099}}"#;
        assert_eq!(event.to_string(), expected);
        let over = legacy(
            "zbzb",
            true,
            &Event::Alert(Arc::new(alert(Status::Resolved))),
        );
        assert_eq!(
            (&over["event_type"], &over["incident_key"]),
            (&json!("resolve"), &json!("agents/a-1"))
        );
    }

    #[test]
    fn an_incident_is_known_by_what_it_is_about() {
        let event = v2("key", "hm", &alert(Status::Firing));
        assert_eq!(event["event_action"], "trigger");
        assert_eq!(event["dedup_key"], "agents/a-1");
        let payload = &event["payload"];
        assert_eq!(payload["summary"], "a-1 has timed out: it does not answer");
        assert_eq!(
            (
                &payload["severity"],
                &payload["timestamp"],
                &payload["component"],
                &payload["group"],
                &payload["class"]
            ),
            (
                &json!("critical"),
                &json!("2011-11-02T01:08:19Z"),
                &json!("web/i-1"),
                &json!("dep"),
                &json!("vm_health")
            )
        );
        for (status, action) in [
            (Status::Acknowledged, "acknowledge"),
            (Status::Resolved, "resolve"),
        ] {
            let expected =
                json!({"routing_key": "key", "event_action": action, "dedup_key": "agents/a-1"});
            assert_eq!(v2("key", "hm", &alert(status)), expected);
        }
        let nameless = Alert {
            key: None,
            source: None,
            ..alert(Status::Firing)
        };
        let event = v2("key", "hm", &nameless);
        assert_eq!(
            (&event["dedup_key"], &event["payload"]["source"]),
            (&json!("id-1"), &json!("hm"))
        );
    }

    #[test]
    fn one_key_is_needed() {
        _ = rustls::crypto::ring::default_provider().install_default();
        let made = |text: &str| {
            new(serde_yaml_ng::from_str(text).unwrap(), None)
                .map(|(pagerduty, _)| pagerduty.url.to_string())
        };
        assert_eq!(
            made("{service_key: zb512, http_proxy: 'http://proxy.test:3128'}").unwrap(),
            LEGACY
        );
        assert_eq!(made("{routing_key: r}").unwrap(), V2);
        for options in [
            "{http_proxy: 'http://proxy.test:3128'}",
            "{service_key: ''}",
            "{service_key: a, routing_key: b}",
        ] {
            assert!(
                made(options)
                    .unwrap_err()
                    .starts_with("service_key: expected a key"),
                "{options}"
            );
        }
        assert!(
            made("{service_key: a, http_proxy: 'not a proxy'}")
                .unwrap_err()
                .starts_with("http_proxy: expected")
        );
    }
}
