//! `graphite`: heartbeats' metrics by Graphite's line protocol. Source: upstream's plugins/graphite.rb,
//! protocols/graphite_connection.rb.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::build::{max_retries, port, thirty_five};
use super::target::{Failure, Manner, Target};
use super::tsdb::Lines;
use super::words;
use crate::event::{Alert, Heartbeat};

#[derive(Deserialize)]
pub(super) struct Options {
    host: String,
    #[serde(deserialize_with = "port")]
    port: u16,
    prefix: Option<String>,
    #[serde(default = "thirty_five", deserialize_with = "max_retries")]
    max_retries: Option<u32>,
}

pub(super) struct Graphite {
    prefix: Option<String>,
    lines: Lines,
}

pub(super) fn new(options: Options) -> Result<(Graphite, Manner), String> {
    let Options {
        host,
        port,
        prefix,
        max_retries,
    } = options;
    let lines = Lines::new("graphite", host, port, max_retries)?;
    let manner = Manner {
        heartbeats: 1_000,
        durable: false,
        ..Manner::default()
    };
    Ok((Graphite { prefix, lines }, manner))
}

/// `PREFIX.DEPLOYMENT.JOB.INSTANCE.AGENT.METRIC VALUE TIMESTAMP` for each metric.
fn write(prefix: Option<&str>, heartbeat: &Heartbeat, now: i64, lines: &mut String) {
    let place = [
        &heartbeat.deployment,
        &heartbeat.job,
        &heartbeat.instance_id,
        &heartbeat.agent_id,
    ];
    let place: Vec<&str> = prefix
        .into_iter()
        .chain(place.into_iter().map(String::as_str))
        .collect();
    // Upstream takes for a time what has ten digits and begins with 1.
    let is_epoch = (1_000_000_000..2_000_000_000).contains(&heartbeat.timestamp);
    let timestamp = if is_epoch { heartbeat.timestamp } else { now };
    let place = clean(&place.join("."));
    for metric in heartbeat.metrics() {
        let (name, value) = (metric.name.replace('.', "_"), clean(&metric.value));
        lines.push_str(&format!("{place}.{name} {value} {timestamp}\n"));
    }
}

/// Whatever an agent calls itself, a line stays a line.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_whitespace() || c.is_control(), "_")
}

#[async_trait]
impl Target for Graphite {
    async fn alerts(&mut self, _: &[Arc<Alert>]) -> Result<(), Failure> {
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let (mut lines, now) = (String::new(), words::wall());
        for heartbeat in heartbeats {
            write(self.prefix.as_deref(), heartbeat, now, &mut lines);
        }
        self.lines.send(&lines).await
    }

    async fn close(&mut self) {
        self.lines.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tsdb::tests::heartbeat;

    #[test]
    fn lines_are_upstreams() {
        let mut lines = String::new();
        write(Some("bosh"), &heartbeat(1_320_196_099), 0, &mut lines);
        let first: Vec<_> = lines.lines().take(2).collect();
        assert_eq!(
            first,
            [
                "bosh.dep.web.i-1.a-1.system_load_1m 0.2 1320196099",
                "bosh.dep.web.i-1.a-1.system_cpu_user 22.3 1320196099",
            ]
        );
        assert!(lines.ends_with("bosh.dep.web.i-1.a-1.system_healthy 1 1320196099\n"));
        assert_eq!(lines.lines().count(), 15);
        lines.clear();
        write(None, &heartbeat(5), 1_700_000_000, &mut lines);
        assert!(
            lines.starts_with("dep.web.i-1.a-1.system_load_1m 0.2 1700000000\n"),
            "{lines}"
        );
    }

    #[test]
    fn a_hostile_value_stays_within_its_line() {
        let mut hostile = heartbeat(1_320_196_099);
        hostile.vitals["cpu"]["user"] = "1\nevil.metric 2 3".into();
        let mut lines = String::new();
        write(None, &hostile, 0, &mut lines);
        assert_eq!(lines.lines().count(), 15);
        assert!(
            lines.contains("system_cpu_user 1_evil.metric_2_3 1320196099\n"),
            "{lines}"
        );
    }

    #[test]
    fn options_are_those_that_upstream_takes() {
        let read = |text: &str| {
            serde_yaml_ng::from_str::<Options>(text).map_err(|error| error.to_string())
        };
        assert_eq!(read("{host: h, port: 2003}").unwrap().max_retries, Some(35));
        assert_eq!(
            read("{host: h, port: '2003', max_retries: -1}")
                .unwrap()
                .max_retries,
            None
        );
        assert_eq!(
            read("{host: h, port: 2003, max_retries: 42}")
                .unwrap()
                .max_retries,
            Some(42)
        );
        assert!(read("{host: h}").err().unwrap().contains("port"));
        assert!(
            read("{host: h, port: 2003, max_retries: -1337}")
                .err()
                .unwrap()
                .contains("at least -1")
        );
    }
}
