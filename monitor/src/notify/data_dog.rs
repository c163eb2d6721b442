//! `data_dog`: alerts as events and heartbeats as metrics to Datadog's API, version 1. Source: upstream's
//! plugins/datadog.rb, plugins/paging_datadog_client.rb, and the dogapi client that they use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::{self, Way};
use super::target::{Failure, Manner, Target};
use super::words::{cut, hostname};
use crate::event::{Alert, Heartbeat, Status};

const URL: &str = "https://api.datadoghq.com";

/// As dogapi has it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What Datadog takes at the most, in characters.
const TITLE: usize = 100;
const TEXT: usize = 4_000;

#[derive(Deserialize)]
pub(super) struct Options {
    api_key: String,
    application_key: String,
    pagerduty_service_name: Option<String>,
    custom_tags: Option<BTreeMap<String, serde_yaml_ng::Value>>,
    /// Ours: another site of Datadog's.
    url: Option<String>,
    /// Ours; upstream's client knows the environment's alone.
    http_proxy: Option<String>,
}

pub(super) struct DataDog {
    http: reqwest::Client,
    events: Url,
    series: Url,
    pagerduty: Option<String>,
    tags: Vec<String>,
    host: String,
}

pub(super) fn new(options: Options) -> Result<(DataDog, Manner), String> {
    for (key, value) in [
        ("api_key", &options.api_key),
        ("application_key", &options.application_key),
    ] {
        if value.is_empty() {
            return Err(format!("{key}: expected a key"));
        }
    }
    let environment = |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok());
    let base = options.url.or_else(|| environment(&["DATADOG_HOST"]));
    let base = http::url("url", base.as_deref().unwrap_or(URL))?;
    let way = Way {
        proxy: options.http_proxy.or_else(|| {
            environment(&[
                "DD_PROXY_HTTPS",
                "dd_proxy_https",
                "DD_PROXY_HTTP",
                "dd_proxy_http",
            ])
        }),
        timeout: Some(TIMEOUT),
        ..Way::default()
    };
    let endpoint = |path: &str| -> Result<Url, String> {
        let mut url = base.join(path).map_err(|error| format!("url: {error}"))?;
        url.query_pairs_mut()
            .append_pair("api_key", &options.api_key);
        Ok(url)
    };
    let tags = options.custom_tags.unwrap_or_default();
    let dog = DataDog {
        http: http::client(&base, &way)?,
        events: endpoint("/api/v1/events")?,
        series: endpoint("/api/v1/series")?,
        pagerduty: options.pagerduty_service_name,
        tags: tags
            .iter()
            .map(|(key, value)| format!("{key}:{}", text(value)))
            .collect(),
        host: hostname(),
    };
    Ok((dog, Manner::default()))
}

fn text(value: &serde_yaml_ng::Value) -> String {
    match value {
        serde_yaml_ng::Value::String(text) => text.clone(),
        serde_yaml_ng::Value::Null => String::new(),
        other => serde_yaml_ng::to_string(other)
            .unwrap_or_default()
            .trim_end()
            .to_owned(),
    }
}

impl DataDog {
    fn event(&self, alert: &Alert) -> Value {
        let normal = matches!(alert.severity, 1..=3);
        let text = match &self.pagerduty {
            Some(service) if normal => format!("{} @{service}", alert.summary),
            _ => alert.summary.clone(),
        };
        let priority = if normal { "normal" } else { "low" };
        let alert_type = match alert.status {
            Status::Resolved => "success",
            _ if normal => "error",
            _ => "warning",
        };
        let source = alert.source.as_deref().unwrap_or_default();
        let deployment = alert.deployment.as_deref().unwrap_or_default();
        let mut tags = vec![
            format!("source:{source}"),
            format!("deployment:{deployment}"),
        ];
        tags.extend_from_slice(&self.tags);
        json!({
            "msg_text": text,
            "date_happened": alert.created_at,
            "msg_title": alert.title,
            "priority": priority,
            "parent": null,
            "tags": tags,
            "aggregation_key": alert.key.as_deref().unwrap_or_default(),
            "alert_type": alert_type,
            "event_type": null,
            "source_type_name": null,
            "title": cut(&alert.title, TITLE),
            "text": cut(&text, TEXT),
            "host": self.host,
            "device": null,
        })
    }

    fn points(&self, heartbeat: &Heartbeat, series: &mut Vec<Value>) {
        let mut tags = vec![
            format!("job:{}", heartbeat.job),
            format!("index:{}", heartbeat.index),
            format!("id:{}", heartbeat.instance_id),
            format!("deployment:{}", heartbeat.deployment),
            format!("agent:{}", heartbeat.agent_id),
        ];
        tags.extend(heartbeat.teams.iter().map(|team| format!("team:{team}")));
        tags.extend_from_slice(&self.tags);
        series.extend(heartbeat.metrics().into_iter().map(|metric| {
            json!({
                "metric": format!("bosh.healthmonitor.{}", metric.name),
                "points": [[heartbeat.timestamp, metric.number()]],
                "type": "gauge",
                "host": self.host,
                "device": null,
                "tags": tags,
            })
        }));
    }
}

#[async_trait]
impl Target for DataDog {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            http::send(self.http.post(self.events.clone()).json(&self.event(alert))).await?;
        }
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let mut series = Vec::new();
        heartbeats
            .iter()
            .for_each(|heartbeat| self.points(heartbeat, &mut series));
        let body = json!({ "series": series });
        http::send(self.http.post(self.series.clone()).json(&body)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tsdb::tests::heartbeat;

    fn dog(options: &str) -> DataDog {
        _ = rustls::crypto::ring::default_provider().install_default();
        let options = format!("{{api_key: a, application_key: b, {options}}}");
        new(serde_yaml_ng::from_str(&options).unwrap()).unwrap().0
    }

    #[test]
    fn an_event_is_upstreams() {
        let dog = dog("pagerduty_service_name: pd, custom_tags: {env: prod, zone: 1}");
        let alert = Alert {
            summary: "Everything is down".into(),
            source: Some("web/i-1".into()),
            deployment: Some("dep".into()),
            ..Alert::new(2, "t".repeat(200), 1_320_196_099)
        };
        let event = dog.event(&alert);
        assert_eq!(event["text"], "Everything is down @pd");
        assert_eq!(event["title"], "t".repeat(100));
        assert_eq!(event["date_happened"], 1_320_196_099);
        assert_eq!(
            event["tags"],
            json!(["source:web/i-1", "deployment:dep", "env:prod", "zone:1"])
        );
        assert_eq!(
            (&event["priority"], &event["alert_type"]),
            (&json!("normal"), &json!("error"))
        );
        let warning = dog.event(&Alert {
            severity: 4,
            ..alert
        });
        assert_eq!(
            (&warning["priority"], &warning["alert_type"]),
            (&json!("low"), &json!("warning"))
        );
        assert_eq!(
            warning["text"], "Everything is down",
            "nobody is paged for a warning"
        );
        assert_eq!(
            dog.events.as_str(),
            "https://api.datadoghq.com/api/v1/events?api_key=a"
        );
    }

    #[test]
    fn metrics_are_upstreams() {
        let mut series = Vec::new();
        dog("custom_tags: {env: prod}").points(&heartbeat(1_320_196_099), &mut series);
        assert_eq!(series.len(), 15);
        assert_eq!(series[0]["metric"], "bosh.healthmonitor.system.load.1m");
        assert_eq!(series[0]["points"], json!([[1_320_196_099, 0.2]]));
        let tags = [
            "job:web",
            "index:0",
            "id:i-1",
            "deployment:dep",
            "agent:a-1",
            "team:ateam",
            "team:bteam",
            "env:prod",
        ];
        assert_eq!(series[0]["tags"], json!(tags));
    }

    #[test]
    fn both_keys_are_needed() {
        for options in ["{api_key: a}", "{application_key: b}"] {
            assert!(
                serde_yaml_ng::from_str::<Options>(options).is_err(),
                "{options}"
            );
        }
    }
}
