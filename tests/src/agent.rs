//! `bosh-agent` alone, on the dummy platform and a bus of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::bus::Bus;
use crate::process::Guard;
use crate::{paths, wait};

/// The id of the one agent of a bus.
pub const ID: &str = "7c1d8a0e-51f5-4a35-9d0a-3b4f6f1e2d90";

/// How long an answer, a heartbeat or an alert may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent; it ends with this, what it supervises does not.
pub struct Agent {
    /// The process.
    pub process: Guard,
    /// What `/var/vcap` is on a VM.
    pub base: PathBuf,
}

impl Agent {
    /// Starts the static agent with its files under `dir`, as on a VM that has just been made.
    pub fn start(bus: &Bus, dir: &Path, blobstore: Value) -> anyhow::Result<Self> {
        let base = dir.join("base");
        std::fs::create_dir_all(base.join("bosh"))?;
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        let settings = json!({
            "agent_id": ID,
            "networks": { "private": {
                "type": "manual", "ip": "10.244.0.10", "netmask": "255.255.255.0", "default": ["gateway", "dns"], "preconfigured": true,
            } },
            "vm": { "name": "vm-1" },
            "env": { "bosh": {
                "mbus": {
                    "urls": [format!("nats://127.0.0.1:{}", bus.port)],
                    "cert": { "ca": read(&bus.ca)?, "certificate": read(&bus.cert)?, "private_key": read(&bus.key)? },
                },
                "blobstores": [blobstore],
            } },
        });
        let (env, config) = (dir.join("env.json"), dir.join("agent.json"));
        std::fs::write(&env, settings.to_string())?;
        let source = json!({ "Type": "File", "SettingsPath": env });
        let sources = json!({ "Infrastructure": { "Settings": { "Sources": [source] } } });
        std::fs::write(&config, sources.to_string())?;
        let mut command = Command::new(paths::static_agent()?);
        command
            .args(["-P", "dummy", "-C"])
            .arg(config)
            .arg("-b")
            .arg(&base)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log"))?);
        Ok(Self {
            process: Guard::spawn(&mut command)?,
            base,
        })
    }
}

/// The director's and the health monitor's end of the bus.
pub struct Peer {
    client: Client,
    replies: Subscriber,
    heartbeats: Subscriber,
    alerts: Subscriber,
    requests: u64,
}

impl Peer {
    /// Listens from now on.
    pub async fn connect(bus: &Bus) -> anyhow::Result<Self> {
        let client = bus.client().await?;
        let peer = Self {
            replies: client.subscribe(format!("director.bench.{ID}.*")).await?,
            heartbeats: client.subscribe(format!("hm.agent.heartbeat.{ID}")).await?,
            alerts: client.subscribe(format!("hm.agent.alert.{ID}")).await?,
            requests: 0,
            client,
        };
        peer.client.flush().await?;
        Ok(peer)
    }

    async fn send(&mut self, method: &str, arguments: &Value) -> anyhow::Result<String> {
        self.requests += 1;
        let reply_to = format!("director.bench.{ID}.{}", self.requests);
        let request = json!({ "protocol": 3, "method": method, "arguments": arguments, "reply_to": reply_to });
        self.client
            .publish(format!("agent.{ID}"), request.to_string().into())
            .await?;
        self.client.flush().await?;
        Ok(reply_to)
    }

    /// Asks until there is an answer, every few milliseconds.
    pub async fn ping(&mut self) -> anyhow::Result<()> {
        let ask = async {
            loop {
                self.send("ping", &json!([])).await?;
                let pause = Duration::from_millis(2);
                if let Ok(reply) = tokio::time::timeout(pause, self.replies.next()).await {
                    let reply = reply.context("the bus has gone")?;
                    ensure!(
                        reply.payload.as_ref() == br#"{"value":"pong"}"#,
                        "a strange pong"
                    );
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(PATIENCE, ask)
            .await
            .context("no pong")?
    }

    /// One request's value.
    pub async fn call(&mut self, method: &str, arguments: Value) -> anyhow::Result<Value> {
        let reply_to = self.send(method, &arguments).await?;
        loop {
            let reply = tokio::time::timeout(PATIENCE, self.replies.next()).await;
            let reply = reply
                .with_context(|| format!("no answer to {method}"))?
                .context("the bus has gone")?;
            // Others are to pings that were given up.
            if reply.subject.as_str() != reply_to {
                continue;
            }
            let mut reply: Value = serde_json::from_slice(&reply.payload)?;
            if let Some(exception) = reply.get("exception") {
                bail!("{method}: {exception}");
            }
            return Ok(reply["value"].take());
        }
    }

    /// Starts a task and waits for its value.
    pub async fn task(&mut self, method: &str, arguments: Value) -> anyhow::Result<Value> {
        let started = self.call(method, arguments).await?;
        let id = started["agent_task_id"].clone();
        ensure!(id.is_string(), "{method} is not a task: {started}");
        loop {
            let value = self.call("get_task", json!([id])).await?;
            if value["state"] != "running" || value["agent_task_id"].is_null() {
                return Ok(value);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the job's state is this one.
    pub async fn state(&mut self, state: &str) -> anyhow::Result<()> {
        let peer = tokio::sync::Mutex::new(self);
        wait::until(&format!("job state {state}"), PATIENCE, || async {
            let value = peer.lock().await.call("get_state", json!([])).await?;
            Ok((value["job_state"] == state).then_some(()))
        })
        .await
    }

    /// The next heartbeat.
    pub async fn heartbeat(&mut self) -> anyhow::Result<()> {
        let beat = tokio::time::timeout(PATIENCE, self.heartbeats.next()).await;
        beat.context("no heartbeat")?
            .context("the bus has gone")
            .map(drop)
    }

    /// Waits for an alert whose title contains all of this.
    pub async fn alert(&mut self, texts: &[&str]) -> anyhow::Result<()> {
        let find = async {
            while let Some(message) = self.alerts.next().await {
                let alert: Value = serde_json::from_slice(&message.payload)?;
                let title = alert["title"].as_str().unwrap_or_default();
                if texts.iter().all(|text| title.contains(text)) {
                    return Ok(());
                }
            }
            bail!("the bus has gone")
        };
        tokio::time::timeout(PATIENCE, find)
            .await
            .with_context(|| format!("no alert about {texts:?}"))?
    }
}
