//! `bosh-monitor` alone, on a bus and a fake director of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::bus::{Bus, free_port};
use crate::fake_director::FakeDirector;
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
        std::fs::create_dir_all(dir)?;
        let (log, port) = (dir.join("monitor.log"), free_port()?);
        let mut merged = json!({ "log_stats": 0.2 });
        for (name, seconds) in intervals.as_object().context("intervals are a mapping")? {
            merged[name] = seconds.clone();
        }
        let config = json!({
            "http": { "port": port },
            "mbus": {
                "endpoint": format!("nats://127.0.0.1:{}", bus.port),
                "server_ca_path": bus.ca, "client_certificate_path": bus.cert, "client_private_key_path": bus.key,
            },
            "director": director_options(director),
            "intervals": merged,
            "logfile": log,
            "plugins": plugins,
        });
        let file = dir.join("health_monitor.yml");
        std::fs::write(&file, serde_yaml_ng::to_string(&config)?)?;
        let mut command = Command::new(paths::bin("bosh-monitor")?);
        let process = Guard::spawn(command.arg("-c").arg(file).stdout(Stdio::null()))?;
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
            || async {
                Ok(std::fs::read_to_string(&self.log)?
                    .contains(text)
                    .then_some(()))
            },
        )
        .await
    }
}

fn plural(agents: usize) -> String {
    match agents {
        1 => "1 agent".to_owned(),
        agents => format!("{agents} agents"),
    }
}

/// The `director` options that the monitor and some of its plugins take.
pub fn director_options(director: &FakeDirector) -> Value {
    json!({ "endpoint": format!("http://{}", director.addr), "user": "hm", "password": "hm" })
}
