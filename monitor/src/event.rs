//! Alerts and heartbeats as plugins see them. Source: upstream's bosh-monitor/events/*.rb.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

/// The kinds of events a plugin may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong.
    Alert,
    /// An agent's vitals.
    Heartbeat,
}

/// What a plugin is given.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something is wrong.
    Alert(Arc<Alert>),
    /// An agent's vitals.
    Heartbeat(Arc<Heartbeat>),
}

impl Event {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Alert(_) => Kind::Alert,
            Self::Heartbeat(_) => Kind::Heartbeat,
        }
    }

    /// The JSON that our webhook sends.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Alert(alert) => alert.to_json(),
            Self::Heartbeat(heartbeat) => heartbeat.to_json(),
        }
    }

    /// The JSON that upstream's plugins send, key by key.
    pub fn to_hash(&self) -> Value {
        match self {
            Self::Alert(alert) => alert.to_hash(),
            Self::Heartbeat(heartbeat) => heartbeat.to_json(),
        }
    }
}

/// Which part of the system an alert is about, where that matters to the resurrector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// One VM.
    VmHealth,
    /// A deployment: carries the instances to repair.
    DeploymentHealth,
}

impl Category {
    /// As upstream writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::VmHealth => "vm_health",
            Self::DeploymentHealth => "deployment_health",
        }
    }
}

/// Where an alert is in its life. Upstream knows the first only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is so.
    #[default]
    Firing,
    /// It is so, and somebody or something sees to it.
    Acknowledged,
    /// It is so no longer.
    Resolved,
}

/// Something is wrong, or no longer is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// Unique; a repeat is dropped.
    pub id: String,
    /// Whether the id came as a number, which upstream's plugins hand on as one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub numeric_id: bool,
    /// 1 alert, 2 critical, 3 error, 4 warning; others as they came.
    pub severity: u64,
    /// Set for alerts the monitor itself raises about VMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// One line.
    pub title: String,
    /// More, or the title again.
    pub summary: String,
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The deployment it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The instance group it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The instance it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// When it was raised, in seconds since the epoch.
    pub created_at: i64,
    /// Instance group -> instances, of a [`Category::DeploymentHealth`] alert.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs_to_instance_ids: BTreeMap<String, Vec<String>>,
    /// What it is about, the same over all repeats and the recovery: `SCOPE/...`, see
    /// [`recovery::Tracker`](crate::notify::recovery::Tracker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where it is in its life.
    #[serde(default)]
    pub status: Status,
    /// The alerts that this one stands for, where a plugin groups them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Arc<Alert>>,
}

/// Why a message is not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Alert {
    /// An alert of the monitor's own.
    pub fn new(severity: u64, title: impl Into<String>, created_at: i64) -> Self {
        let title = title.into();
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            numeric_id: false,
            severity,
            category: None,
            summary: title.clone(),
            title,
            source: None,
            deployment: None,
            job: None,
            instance_id: None,
            created_at,
            jobs_to_instance_ids: BTreeMap::new(),
            key: None,
            status: Status::Firing,
            members: Vec::new(),
        }
    }

    /// Reads an alert off the bus, with upstream's validation and its words.
    pub fn from_bus(message: &Map<String, Value>) -> Result<Self, Invalid> {
        let mut errors = Vec::new();
        let text = |key: &str| match message.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            None | Some(Value::Null) => None,
            Some(other) => Some(other.to_string()),
        };
        let severity = match message.get("severity") {
            None | Some(Value::Null) => {
                errors.push("severity is missing");
                0
            }
            Some(value) => value.as_u64().unwrap_or_else(|| {
                errors.push("severity is invalid (non-negative integer expected)");
                0
            }),
        };
        let title = text("title");
        if title.is_none() {
            errors.push("title is missing");
        }
        let created_at = match message.get("created_at") {
            None | Some(Value::Null) => {
                errors.push("timestamp is missing");
                0
            }
            Some(value) => value.as_f64().map_or_else(
                || {
                    errors.push("created_at is invalid UNIX timestamp");
                    0
                },
                |seconds| seconds as i64,
            ),
        };
        if !errors.is_empty() {
            return Err(Invalid(errors.join(", ")));
        }
        let title = title.unwrap_or_default();
        Ok(Self {
            id: text("id").unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            numeric_id: message.get("id").is_some_and(Value::is_number),
            summary: text("summary").unwrap_or_else(|| title.clone()),
            source: text("source"),
            deployment: text("deployment"),
            job: text("job"),
            instance_id: text("instance_id"),
            ..Self::new(severity, title, created_at)
        })
    }

    /// Upstream's name of the severity: `alert`, `critical`, `error`, `warning`, or the number.
    pub fn severity_name(&self) -> String {
        match SEVERITIES.get((self.severity as usize).wrapping_sub(1)) {
            Some(name) => (*name).to_owned(),
            None => self.severity.to_string(),
        }
    }

    /// Upstream's one line about an alert.
    pub fn short_description(&self) -> String {
        format!(
            "Severity {}: {} {}",
            self.severity,
            self.source.as_deref().unwrap_or_default(),
            self.title
        )
    }

    /// Upstream's hash of an alert, and nothing else.
    pub fn to_hash(&self) -> Value {
        let id = self
            .numeric_id
            .then(|| serde_json::from_str(&self.id).ok())
            .flatten();
        json!({
            "kind": "alert",
            "id": id.unwrap_or_else(|| Value::from(self.id.as_str())),
            "severity": self.severity,
            "category": self.category.map(Category::name),
            "title": self.title,
            "summary": self.summary,
            "source": self.source,
            "deployment": self.deployment,
            "created_at": self.created_at,
        })
    }

    /// Upstream's hash, and beside it the instance it is about, its status and, of a group, its members.
    pub fn to_json(&self) -> Value {
        let mut hash = self.to_hash();
        hash["job"] = self.job.as_deref().into();
        hash["instance_id"] = self.instance_id.as_deref().into();
        hash["status"] = json!(self.status);
        hash["key"] = self.key.as_deref().into();
        if !self.members.is_empty() {
            hash["alerts"] = self.members.iter().map(|alert| alert.to_json()).collect();
        }
        hash
    }

    /// The paragraph an email has of it.
    pub fn to_plain_text(&self) -> String {
        let source = self
            .source
            .as_ref()
            .map(|source| format!("{source}\n"))
            .unwrap_or_default();
        let (title, summary, time) = (&self.title, &self.summary, utc(self.created_at));
        format!(
            "{source}{title}\nSeverity: {}\nSummary: {summary}\nTime: {time}\n",
            self.severity
        )
    }
}

/// Names of the severities 1 to 4.
pub const SEVERITIES: [&str; 4] = ["alert", "critical", "error", "warning"];

/// The line a log has of it.
impl std::fmt::Display for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Alert @ {}, severity {}: {}",
            utc(self.created_at),
            self.severity,
            self.summary
        )
    }
}

/// An agent's vitals, once it is known whose they are.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// Made by the monitor: heartbeats come without one.
    pub id: String,
    /// Seconds since the epoch.
    pub timestamp: i64,
    /// Which agent.
    pub agent_id: String,
    /// Its deployment.
    pub deployment: String,
    /// Its instance group.
    pub job: String,
    /// Its index in the group; empty where the agent sent none.
    pub index: String,
    /// Its instance.
    pub instance_id: String,
    /// `running`, `failing`, ...
    pub job_state: Option<String>,
    /// How many processes it supervises.
    pub number_of_processes: Option<u64>,
    /// The teams of its deployment.
    pub teams: Arc<[String]>,
    /// As the agent sent them.
    pub vitals: Value,
}

/// One number of a heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `system.cpu.user` and the like.
    pub name: &'static str,
    /// As the agent sent it, as text.
    pub value: String,
    /// Whether it came as a number with no fraction.
    pub integer: bool,
}

impl Metric {
    /// As a number; 0 where the text is none, as Ruby has it.
    pub fn number(&self) -> f64 {
        self.value.trim().parse().unwrap_or(0.)
    }
}

/// Metric name -> where its value is in the vitals.
const METRICS: [(&str, &str); 14] = [
    ("system.load.1m", "/load/0"),
    ("system.cpu.user", "/cpu/user"),
    ("system.cpu.sys", "/cpu/sys"),
    ("system.cpu.wait", "/cpu/wait"),
    ("system.mem.percent", "/mem/percent"),
    ("system.mem.kb", "/mem/kb"),
    ("system.swap.percent", "/swap/percent"),
    ("system.swap.kb", "/swap/kb"),
    ("system.disk.system.percent", "/disk/system/percent"),
    (
        "system.disk.system.inode_percent",
        "/disk/system/inode_percent",
    ),
    ("system.disk.ephemeral.percent", "/disk/ephemeral/percent"),
    (
        "system.disk.ephemeral.inode_percent",
        "/disk/ephemeral/inode_percent",
    ),
    ("system.disk.persistent.percent", "/disk/persistent/percent"),
    (
        "system.disk.persistent.inode_percent",
        "/disk/persistent/inode_percent",
    ),
];

impl Heartbeat {
    /// The numbers in it, in upstream's order.
    pub fn metrics(&self) -> Vec<Metric> {
        let vitals = METRICS.iter().filter_map(|(name, pointer)| {
            // Upstream leaves out what is nil or false.
            let value = match self.vitals.pointer(pointer)? {
                Value::Null | Value::Bool(false) => return None,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let integer = self.vitals.pointer(pointer)?.is_i64();
            Some(Metric {
                name,
                value,
                integer,
            })
        });
        let healthy = if self.job_state.as_deref() == Some("running") {
            "1"
        } else {
            "0"
        };
        vitals
            .chain([Metric {
                name: "system.healthy",
                value: healthy.to_owned(),
                integer: true,
            }])
            .collect()
    }

    /// Upstream's hash of a heartbeat.
    pub fn to_json(&self) -> Value {
        let tags = json!({ "job": self.job, "index": self.index, "id": self.instance_id });
        let metrics: Vec<_> = self
            .metrics()
            .into_iter()
            .map(|metric| json!({ "name": metric.name, "value": metric.value, "timestamp": self.timestamp, "tags": tags }))
            .collect();
        let mut hash = json!({
            "kind": "heartbeat",
            "id": self.id,
            "timestamp": self.timestamp,
            "deployment": self.deployment,
            "agent_id": self.agent_id,
            "job": self.job,
            "index": self.index,
            "instance_id": self.instance_id,
            "job_state": self.job_state,
            "vitals": self.vitals,
            "teams": &*self.teams,
            "metrics": metrics,
        });
        if let Some(count) = self.number_of_processes {
            hash["number_of_processes"] = count.into();
        }
        hash
    }
}

/// The line a log has of it.
impl std::fmt::Display for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Heartbeat from {}/{} (agent_id={}",
            self.job, self.instance_id, self.agent_id
        )?;
        if !self.index.is_empty() {
            write!(f, " index={}", self.index)?;
        }
        write!(f, ") @ {}", utc(self.timestamp))
    }
}

/// A time as Ruby prints it: `2026-01-31 12:00:00 UTC`.
pub fn utc(seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: Value) -> Result<Alert, String> {
        Alert::from_bus(message.as_object().unwrap()).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn alerts_are_validated_as_upstream_does() {
        assert_eq!(
            read(json!({})).unwrap_err(),
            "severity is missing, title is missing, timestamp is missing"
        );
        assert_eq!(
            read(json!({"id": "1", "severity": -2, "title": "t", "created_at": 1})).unwrap_err(),
            "severity is invalid (non-negative integer expected)"
        );
        assert_eq!(
            read(json!({"severity": 1, "title": "t", "created_at": "soon"})).unwrap_err(),
            "created_at is invalid UNIX timestamp"
        );
    }

    #[test]
    fn an_alert_reads_as_upstreams() {
        let alert = read(json!({"id": "1", "severity": 2, "title": "down", "source": "vm", "created_at": 1_320_196_099})).unwrap();
        assert_eq!(
            alert.to_string(),
            "Alert @ 2011-11-02 01:08:19 UTC, severity 2: down"
        );
        assert_eq!(
            alert.to_plain_text(),
            "vm\ndown\nSeverity: 2\nSummary: down\nTime: 2011-11-02 01:08:19 UTC\n"
        );
    }

    #[test]
    fn an_alerts_hash_is_upstreams_and_its_json_says_more() {
        let alert = read(json!({"id": 1, "severity": 2, "title": "down", "summary": "all of it", "source": "vm", "deployment": "d",
            "job": "j", "instance_id": "i", "created_at": 1_320_196_099}))
        .unwrap();
        let hash = r#"{"kind":"alert","id":1,"severity":2,"category":null,"title":"down","summary":"all of it","source":"vm","deployment":"d","created_at":1320196099"#;
        assert_eq!(alert.to_hash().to_string(), format!("{hash}}}"));
        let more = r#","job":"j","instance_id":"i","status":"firing","key":null}"#;
        assert_eq!(alert.to_json().to_string(), format!("{hash}{more}"));
        assert_eq!(alert.short_description(), "Severity 2: vm down");
        assert_eq!(alert.severity_name(), "critical");
        assert_eq!(Alert::new(9, "t", 0).severity_name(), "9");
        assert_eq!(Alert::new(0, "t", 0).severity_name(), "0");
    }

    #[test]
    fn a_kept_alert_comes_back_as_it_was() {
        let alert = Alert {
            category: Some(Category::DeploymentHealth),
            jobs_to_instance_ids: BTreeMap::from([("web".into(), vec!["i".into()])]),
            key: Some("agents/d".into()),
            status: Status::Resolved,
            ..Alert::new(3, "t", 5)
        };
        let kept = serde_json::to_string(&alert).unwrap();
        let back: Alert = serde_json::from_str(&kept).unwrap();
        assert_eq!(format!("{back:?}"), format!("{alert:?}"));
    }

    #[test]
    fn a_heartbeats_metrics_are_those_the_agent_sent() {
        let heartbeat = Heartbeat {
            id: "1".into(),
            timestamp: 1,
            agent_id: "a".into(),
            deployment: "d".into(),
            job: "j".into(),
            index: "0".into(),
            instance_id: "i".into(),
            job_state: Some("running".into()),
            number_of_processes: Some(3),
            teams: Arc::new([]),
            vitals: json!({"load": ["0.1"], "mem": {"kb": 12}, "disk": {}}),
        };
        let metrics: Vec<_> = heartbeat
            .metrics()
            .into_iter()
            .map(|metric| (metric.name, metric.value))
            .collect();
        let expected = [
            ("system.load.1m", "0.1"),
            ("system.mem.kb", "12"),
            ("system.healthy", "1"),
        ];
        assert_eq!(
            metrics,
            expected.map(|(name, value)| (name, value.to_owned()))
        );
        assert_eq!(heartbeat.to_json()["number_of_processes"], 3);
    }
}
