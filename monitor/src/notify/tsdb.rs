//! `tsdb`: heartbeats' metrics by OpenTSDB's telnet protocol. Source: upstream's plugins/tsdb.rb,
//! protocols/tsdb_connection.rb, protocols/tcp_connection.rb.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::build::{max_retries, port, thirty_five};
use super::stream::Stream;
use super::target::{Failure, Manner, Target};
use crate::event::{Alert, Heartbeat};
use crate::sync::chain;

#[derive(Deserialize)]
pub(super) struct Options {
    host: String,
    #[serde(deserialize_with = "port")]
    port: u16,
    #[serde(default = "thirty_five", deserialize_with = "max_retries")]
    max_retries: Option<u32>,
}

pub(super) struct Tsdb {
    lines: Lines,
}

pub(super) fn new(options: Options) -> Result<(Tsdb, Manner), String> {
    let lines = Lines::new("tsdb", options.host, options.port, options.max_retries)?;
    let manner = Manner {
        heartbeats: 1_000,
        durable: false,
        ..Manner::default()
    };
    Ok((Tsdb { lines }, manner))
}

/// `put METRIC TIMESTAMP VALUE TAG=VALUE ...` for each metric, the tags in order and none of them empty.
fn write(heartbeat: &Heartbeat, lines: &mut String) {
    let tags = [
        ("deployment", &heartbeat.deployment),
        ("id", &heartbeat.instance_id),
        ("index", &heartbeat.index),
        ("job", &heartbeat.job),
    ];
    let tags: Vec<String> = tags
        .into_iter()
        .filter(|(_, value)| !value.trim().is_empty())
        .map(|(tag, value)| format!("{tag}={}", clean(value)))
        .collect();
    let (tags, timestamp) = (tags.join(" "), heartbeat.timestamp);
    for metric in heartbeat.metrics() {
        let (name, value) = (metric.name, clean(&metric.value));
        lines.push_str(&format!("put {name} {timestamp} {value} {tags}\n"));
    }
}

/// Whatever an agent calls itself, a line stays a line.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_whitespace() || c.is_control(), "_")
}

#[async_trait]
impl Target for Tsdb {
    async fn alerts(&mut self, _: &[Arc<Alert>]) -> Result<(), Failure> {
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        let mut lines = String::new();
        heartbeats
            .iter()
            .for_each(|heartbeat| write(heartbeat, &mut lines));
        self.lines.send(&lines).await
    }

    async fn close(&mut self) {
        self.lines.close().await;
    }
}

/// A connection that lines go down, with upstream's limit of attempts in a row: after that many it is never tried again.
pub(super) struct Lines {
    plugin: &'static str,
    stream: Stream,
    max_retries: Option<u32>,
    retries: u32,
}

impl Lines {
    pub(super) fn new(
        plugin: &'static str,
        host: String,
        port: u16,
        max_retries: Option<u32>,
    ) -> Result<Self, String> {
        if host.is_empty() {
            return Err("host: expected a host".to_owned());
        }
        Ok(Self {
            plugin,
            stream: Stream::new(host, port, None),
            max_retries,
            retries: 0,
        })
    }

    pub(super) async fn send(&mut self, lines: &str) -> Result<(), Failure> {
        let plugin = self.plugin;
        if let Some(most) = self.max_retries.filter(|most| self.retries > *most) {
            let why = format!("connection.{plugin}-failed-to-reconnect after {most} retries");
            return Err(Failure::Refused(why));
        }
        match self.stream.send(lines.as_bytes()).await {
            Ok(()) => {
                self.retries = 0;
                Ok(())
            }
            Err(error) => {
                self.retries = self.retries.saturating_add(1);
                Err(Failure::retry(chain(&error)))
            }
        }
    }

    pub(super) async fn close(&mut self) {
        self.stream.close().await;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A heartbeat with every metric.
    pub(in crate::notify) fn heartbeat(timestamp: i64) -> Heartbeat {
        Heartbeat {
            id: "hb-1".into(),
            timestamp,
            agent_id: "a-1".into(),
            deployment: "dep".into(),
            job: "web".into(),
            index: "0".into(),
            instance_id: "i-1".into(),
            job_state: Some("running".into()),
            number_of_processes: Some(5),
            teams: Arc::from(["ateam".to_owned(), "bteam".to_owned()]),
            vitals: json!({
                "load": [0.2, 0.3, 0.6],
                "cpu": {"user": 22.3, "sys": 23.4, "wait": 33.22},
                "mem": {"percent": 32.2, "kb": 512_031},
                "swap": {"percent": 32.6, "kb": 231_312},
                "disk": {
                    "system": {"percent": 74, "inode_percent": 68},
                    "ephemeral": {"percent": 33, "inode_percent": 74},
                    "persistent": {"percent": 97, "inode_percent": 10},
                },
            }),
        }
    }

    #[test]
    fn lines_are_upstreams() {
        let mut lines = String::new();
        write(&heartbeat(1_320_196_099), &mut lines);
        assert!(
            lines.starts_with(
                "put system.load.1m 1320196099 0.2 deployment=dep id=i-1 index=0 job=web\n"
            ),
            "{lines}"
        );
        assert!(
            lines.ends_with(
                "put system.healthy 1320196099 1 deployment=dep id=i-1 index=0 job=web\n"
            )
        );
        assert_eq!(lines.lines().count(), 15);
        let mut nameless = heartbeat(1);
        nameless.index = String::new();
        nameless.instance_id = " ".into();
        lines.clear();
        write(&nameless, &mut lines);
        assert!(
            lines.starts_with("put system.load.1m 1 0.2 deployment=dep job=web\n"),
            "empty tags are left out: {lines}"
        );
    }

    #[tokio::test]
    async fn after_so_many_attempts_it_is_over() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = gone.local_addr().unwrap().port();
        drop(gone);
        let mut lines = Lines::new("tsdb", "127.0.0.1".into(), port, Some(1)).unwrap();
        for _ in 0..2 {
            assert!(matches!(lines.send("x\n").await, Err(Failure::Retry(..))));
        }
        let over =
            Failure::Refused("connection.tsdb-failed-to-reconnect after 1 retries".to_owned());
        assert_eq!(lines.send("x\n").await, Err(over));
    }
}
