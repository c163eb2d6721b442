//! `bosh-monitor` alone, on a bus and a fake director of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bus::{Bus, free_port};
use crate::fake_director::{FakeDirector, agent_id};
use crate::process::Guard;
use crate::{paths, wait};

/// A running monitor.
pub struct Monitor {
    /// The process.
    pub process: Guard,
    /// The port of its HTTP interface.
    pub port: u16,
    log: PathBuf,
}

impl Monitor {
    /// Starts one under `dir` and waits until it knows the director's instances. `plugins` and `intervals` are those of
    /// health_monitor.yml.
    pub async fn start(
        bus: &Bus,
        director: &FakeDirector,
        dir: &Path,
        intervals: Value,
        plugins: Value,
    ) -> anyhow::Result<Self> {
        let more = json!({ "intervals": intervals, "plugins": plugins });
        Self::with(bus, director, dir, more, |_| {}).await
    }

    /// The same with any sections of the file, and a command that may be changed before it is run.
    pub async fn with(
        bus: &Bus,
        director: &FakeDirector,
        dir: &Path,
        more: Value,
        change: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let (log, port) = (dir.join("monitor.log"), free_port()?);
        let mut config = json!({
            "http": { "port": port },
            "mbus": {
                "endpoint": format!("nats://127.0.0.1:{}", bus.port),
                "server_ca_path": bus.ca, "client_certificate_path": bus.monitor.0, "client_private_key_path": bus.monitor.1,
            },
            "director": director_options(director),
            "intervals": { "log_stats": 0.2 },
            "logfile": log,
            "plugins": [],
        });
        for (section, given) in more.as_object().context("sections are a mapping")? {
            match given.as_object() {
                Some(keys) => {
                    for (key, value) in keys {
                        config[section][key] = value.clone();
                    }
                }
                None => config[section] = given.clone(),
            }
        }
        let file = dir.join("health_monitor.yml");
        std::fs::write(&file, serde_yaml_ng::to_string(&config)?)?;
        let mut command = Command::new(paths::bin("bosh-monitor")?);
        command.arg("-c").arg(file).stdout(Stdio::null());
        change(&mut command);
        let process = Guard::spawn(&mut command)?;
        let monitor = Self { process, port, log };
        let agents = director.known().instances.len();
        monitor
            .logs(&format!("Managing 1 deployment, {}\n", plural(agents)))
            .await?;
        Ok(monitor)
    }

    /// Waits for a text in its log.
    pub async fn logs(&self, text: &str) -> anyhow::Result<()> {
        wait::until(
            &format!("the monitor to log {text:?}"),
            Duration::from_secs(120),
            || async { Ok(self.has_logged(text)?.then_some(())) },
        )
        .await
    }

    /// Whether a text is in its log.
    pub fn has_logged(&self, text: &str) -> anyhow::Result<bool> {
        Ok(std::fs::read_to_string(&self.log)?.contains(text))
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The value of one of its metrics, by name and labels as they are written: `name{label="value"}`.
    pub async fn metric(&self, series: &str) -> anyhow::Result<Option<f64>> {
        let text = reqwest::get(self.url("/metrics")).await?.text().await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.map(str::parse).transpose()?)
    }

    /// Waits until it acts, as the only one or the chosen one.
    pub async fn leads(&self, limit: Duration) -> anyhow::Result<()> {
        wait::until("the monitor to lead", limit, || async {
            let leads = self.metric("bosh_monitor_leader").await?;
            Ok((leads == Some(1.)).then_some(()))
        })
        .await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.process.pid().try_into()?), signal)
            .with_context(|| format!("sending {signal} to the monitor"))
    }
}

/// Agents that beat until this is dropped.
pub struct Beating(tokio::task::JoinHandle<()>);

impl Beating {
    /// Lets agents of [`fake_director`](crate::fake_director) beat, on a connection of their own that comes back when it breaks.
    pub async fn start(
        bus: &Bus,
        agents: std::ops::Range<u64>,
        every: Duration,
    ) -> anyhow::Result<Self> {
        let client = bus.client().await?;
        Ok(Self(tokio::spawn(async move {
            let mut due = tokio::time::interval(every);
            loop {
                due.tick().await;
                for agent in agents.clone() {
                    let subject = format!("hm.agent.heartbeat.{}", agent_id(agent));
                    // While the bus is away nobody hears it, as with real agents.
                    _ = client.publish(subject, BEAT.into()).await;
                }
            }
        })))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const BEAT: &str = r#"{"job_state":"running","number_of_processes":2}"#;

fn plural(agents: usize) -> String {
    match agents {
        1 => "1 agent".to_owned(),
        agents => format!("{agents} agents"),
    }
}

/// The `director` options that the monitor and some of its plugins take.
pub fn director_options(director: &FakeDirector) -> Value {
    json!({
        "endpoint": format!("http://{}", director.addr), "user": "hm", "password": "hm", "client_id": "hm", "client_secret": "hm",
    })
}
