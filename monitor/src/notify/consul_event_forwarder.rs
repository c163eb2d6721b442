//! `consul_event_forwarder`: alerts as Consul events, heartbeats as TTL checks and, if asked for, as events too. Source:
//! upstream's plugins/consul_event_forwarder.rb and plugins/README.md.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::build::{port, truthy};
use super::http::{self, Way, segment};
use super::target::{Failure, Manner, Target};
use crate::event::{Alert, Heartbeat};
use crate::sync::chain;

/// How many heartbeats are on their way at a time.
const AT_ONCE: usize = 16;

#[derive(Deserialize)]
pub(super) struct Options {
    host: String,
    #[serde(deserialize_with = "port")]
    port: u16,
    protocol: String,
    params: Option<String>,
    namespace: Option<String>,
    ttl: Option<String>,
    ttl_note: Option<String>,
    #[serde(default, deserialize_with = "truthy")]
    events: bool,
    #[serde(default, deserialize_with = "truthy")]
    heartbeats_as_alerts: bool,
}

pub(super) struct Consul {
    http: reqwest::Client,
    base: String,
    params: String,
    namespace: String,
    ttl: Option<String>,
    ttl_note: Option<String>,
    events: bool,
    heartbeats_as_alerts: bool,
    /// The checks that Consul was told of.
    registered: HashSet<String>,
}

pub(super) fn new(options: Options) -> Result<(Consul, Manner), String> {
    for (key, value) in [("host", &options.host), ("protocol", &options.protocol)] {
        if value.is_empty() {
            return Err(format!("{key}: expected a value"));
        }
    }
    let (protocol, host, port) = (&options.protocol, &options.host, options.port);
    let base = format!("{protocol}://{host}:{port}");
    let url = http::url("protocol, host", &base)?;
    let consul = Consul {
        http: http::client(&url, &Way::default())?,
        base,
        params: options.params.unwrap_or_default(),
        namespace: options.namespace.unwrap_or_default(),
        ttl: options.ttl,
        ttl_note: options.ttl_note,
        events: options.events,
        heartbeats_as_alerts: options.heartbeats_as_alerts,
        registered: HashSet::new(),
    };
    let manner = Manner {
        heartbeats: 200,
        ..Manner::default()
    };
    Ok((consul, manner))
}

impl Consul {
    fn url(&self, path: &str) -> Result<Url, Failure> {
        let url = format!("{}{path}?{}", self.base, self.params);
        Url::parse(&url).map_err(|error| Failure::Refused(format!("params: {error}")))
    }

    async fn put(&self, path: &str, body: &Value) -> Result<StatusCode, Failure> {
        let request = self.http.request(Method::PUT, self.url(path)?);
        let response = request
            .body(body.to_string())
            .send()
            .await
            .map_err(|error| Failure::retry(chain(&error.without_url())))?;
        let status = response.status();
        // Read to its end, the connection serves again.
        let said = response.text().await.unwrap_or_default();
        let why = || format!("answered {status}: {}", super::words::cut(said.trim(), 300));
        match status {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(status),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::Refused(why())),
            _ => Err(Failure::retry(why())),
        }
    }

    async fn fire(&self, label: &str, body: &Value) -> Result<(), Failure> {
        let status = self
            .put(&format!("/v1/event/fire/{}", segment(label)), body)
            .await?;
        match status {
            StatusCode::NOT_FOUND => Err(Failure::retry(format!("answered {status}"))),
            _ => Ok(()),
        }
    }

    /// The label of its check, if that has to be registered in future.
    async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<Option<(String, bool)>, Failure> {
        let label = format!(
            "{}{}_{}",
            self.namespace, heartbeat.job, heartbeat.instance_id
        );
        if self.events && self.heartbeats_as_alerts {
            // Consul takes no more than 512 bytes, which a heartbeat with long names may exceed: only it is lost then.
            match self.fire(&label, &concise(heartbeat)).await {
                Err(Failure::Refused(why)) => {
                    tracing::error!("consul_event_forwarder: {label}: {why}")
                }
                other => other?,
            }
        }
        let Some(ttl) = &self.ttl else {
            return Ok(None);
        };
        if self.registered.contains(&label) {
            let state = match heartbeat.job_state.as_deref() {
                Some("running") => "pass",
                Some("failing" | "unknown") => "fail",
                _ => "warn",
            };
            let path = format!("/v1/agent/check/{state}/{}", segment(&label));
            let status = self.put(&path, &concise(heartbeat)).await?;
            // An agent of Consul's that was restarted may have forgotten the check.
            Ok((status == StatusCode::NOT_FOUND).then_some((label, false)))
        } else {
            let check = json!({ "name": label, "notes": self.ttl_note, "ttl": ttl });
            match self.put("/v1/agent/check/register", &check).await? {
                StatusCode::NOT_FOUND => Err(Failure::retry("answered 404 to a registration")),
                _ => Ok(Some((label, true))),
            }
        }
    }
}

/// What upstream makes of a heartbeat, to come in under Consul's limit of 512 bytes.
fn concise(heartbeat: &Heartbeat) -> Value {
    let vitals = &heartbeat.vitals;
    let values = |pointer: &str| match vitals.pointer(pointer) {
        Some(Value::Object(members)) => members.values().cloned().collect(),
        _ => Value::Array(Vec::new()),
    };
    json!({
        "agent": heartbeat.agent_id,
        "name": format!("{}/{}", heartbeat.job, heartbeat.instance_id),
        "id": heartbeat.instance_id,
        "state": heartbeat.job_state.as_deref().unwrap_or_default(),
        "data": {
            "cpu": values("/cpu"),
            "dsk": { "eph": values("/disk/ephemeral"), "sys": values("/disk/system") },
            "ld": vitals.get("load"),
            "mem": values("/mem"),
            "swp": values("/swap"),
        },
    })
}

#[async_trait]
impl Target for Consul {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts.iter().filter(|_| self.events) {
            let title = alert.title.to_lowercase().replace(' ', "_");
            let label = format!("{}{title}", self.namespace);
            self.fire(&label, &alert.to_hash()).await?;
        }
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let this = &*self;
        let (mut failure, mut sent) = (Ok(()), Vec::new());
        for some in heartbeats.chunks(AT_ONCE) {
            let requests: Vec<_> = some
                .iter()
                .map(|heartbeat| this.heartbeat(heartbeat))
                .collect();
            sent.extend(futures_util::future::join_all(requests).await);
        }
        for outcome in sent {
            match outcome {
                Ok(Some((label, true))) => _ = self.registered.insert(label),
                Ok(Some((label, false))) => _ = self.registered.remove(&label),
                Ok(None) => {}
                Err(error) => failure = Err(error),
            }
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tsdb::tests::heartbeat;

    #[test]
    fn a_heartbeat_is_made_concise_as_upstream_does() {
        let expected = r#"{"agent":"a-1","name":"web/i-1","id":"i-1","state":"running","data":{"cpu":[22.3,23.4,33.22],"dsk":{"eph":[33,74],"sys":[74,68]},"ld":[0.2,0.3,0.6],"mem":[32.2,512031],"swp":[32.6,231312]}}"#;
        assert_eq!(concise(&heartbeat(0)).to_string(), expected);
        let mut bare = heartbeat(0);
        bare.vitals = Value::Null;
        assert_eq!(concise(&bare)["data"]["cpu"], json!([]));
    }

    #[test]
    fn options_are_those_that_upstream_takes() {
        let read = |text: &str| {
            let options: Options =
                serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
            new(options).map(|(consul, _)| consul.base)
        };
        _ = rustls::crypto::ring::default_provider().install_default();
        assert_eq!(
            read("{host: h, port: '8500', protocol: http}").unwrap(),
            "http://h:8500"
        );
        assert!(
            read("{host: '', port: 8500, protocol: http}")
                .unwrap_err()
                .starts_with("host: expected")
        );
        assert!(
            read("{host: h, protocol: http}")
                .unwrap_err()
                .contains("port")
        );
        assert!(
            read("{host: h, port: 8500}")
                .unwrap_err()
                .contains("protocol")
        );
        assert!(
            read("{host: h, port: 8500, protocol: gopher}")
                .unwrap_err()
                .starts_with("protocol, host: expected a URL")
        );
    }
}
