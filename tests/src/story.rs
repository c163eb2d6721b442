//! The demo's steps, which the scenarios are too: from nothing to a deployment that repairs itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::director::Director;
use crate::micro::Micro;
use crate::{paths, redis, release, smtp, stemcell, vm, wait, webhook};

/// The deployment of the story.
pub const DEPLOYMENT: &str = "redis";

/// A micro director and the listeners that its health monitor notifies.
pub struct Stage {
    /// The director.
    pub micro: Micro,
    /// Where its emails go.
    pub mail: smtp::Sink,
    /// Where its webhooks go.
    pub hook: webhook::Listener,
    /// The stemcell that was uploaded.
    pub os: String,
}

/// One instance, as `/deployments/NAME/instances?format=full` tells it.
#[derive(Clone, Debug)]
pub struct Instance(pub Value);

impl Instance {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// Its UUID.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// The CID of its VM; empty while it has none.
    pub fn vm_cid(&self) -> &str {
        self.text("vm_cid")
    }

    /// `running`, `failing`, `unresponsive agent`, ...
    pub fn job_state(&self) -> &str {
        self.text("job_state")
    }

    /// Its first address.
    pub fn ip(&self) -> &str {
        self.0["ips"][0].as_str().unwrap_or_default()
    }

    /// `GROUP/INDEX`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.text("job_name"), self.0["index"])
    }

    /// Redis in it, from the host.
    pub async fn redis(&self) -> anyhow::Result<redis::Client> {
        let config = vm::read(
            self.id(),
            "redis-server",
            "/var/vcap/jobs/redis/config/redis.conf",
        )?;
        let password = config
            .lines()
            .find_map(|line| line.strip_prefix("requirepass "));
        redis::Client::connect(
            self.ip(),
            password.context("redis.conf has no requirepass")?,
        )
        .await
    }

    /// A line a person can read: state, processes, vitals.
    pub fn line(&self) -> String {
        let vitals = &self.0["vitals"];
        let processes: Vec<_> = self.0["processes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|process| {
                let text = |key: &str| process[key].as_str().unwrap_or("?").to_owned();
                format!("{} {}", text("name"), text("state"))
            })
            .collect();
        format!(
            "{}  {}  {}  [{}]  cpu {}/{}/{}  mem {}%  persistent disk {}%",
            self.name(),
            self.ip(),
            self.job_state(),
            processes.join(", "),
            word(&vitals["cpu"]["user"]),
            word(&vitals["cpu"]["sys"]),
            word(&vitals["cpu"]["wait"]),
            word(&vitals["mem"]["percent"]),
            word(&vitals["disk"]["persistent"]["percent"]),
        )
    }
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// How long each reaction to a killed process took, from the kill on.
#[derive(Clone, Copy, Debug)]
pub struct Killed {
    /// Another process answers in its place.
    pub restarted: Duration,
    /// The alert arrived by webhook.
    pub webhook: Duration,
    /// The alert arrived by email.
    pub email: Duration,
}

/// What became of a destroyed VM, from the destruction on.
#[derive(Clone, Debug)]
pub struct Destroyed {
    /// The CIDs before and after.
    pub vms: (String, String),
    /// The monitor's first alert about it arrived by webhook.
    pub noticed: Duration,
    /// The instance runs again and has its data.
    pub repaired: Duration,
}

impl Stage {
    /// Starts the listeners and a micro director under `dir` whose monitor looks often enough for an audience.
    pub async fn open(dir: &Path) -> anyhow::Result<Self> {
        let (mail, hook) = (
            smtp::Sink::start().await?,
            webhook::Listener::start().await?,
        );
        let overlay = json!({
            "intervals": { "poll_director": 2, "poll_grace_period": 2, "analyze_agents": 1, "analyze_instances": 2, "agent_timeout": 8 },
            "plugins": [
                { "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/alerts", hook.addr) } },
                { "name": "email", "events": ["alert"], "options": {
                    "interval": 0.2,
                    "recipients": ["operator@example.test"],
                    "smtp": { "from": "bosh@example.test", "host": mail.addr.ip().to_string(), "port": mail.addr.port(),
                              "domain": "example.test", "tls": false },
                } },
            ],
        });
        let micro = Micro::start(dir, &serde_yaml_ng::to_string(&overlay)?).await?;
        Ok(Self {
            micro,
            mail,
            hook,
            os: stemcell::os()?,
        })
    }

    /// The director's client.
    pub fn director(&self) -> &Director {
        &self.micro.director
    }

    /// Uploads the stemcell and the redis release.
    pub async fn upload(&self, stemcell: &Path) -> anyhow::Result<()> {
        self.director()
            .upload("/stemcells", stemcell)
            .await
            .context("uploading the stemcell")?;
        let release = redis_release(&self.micro.dir)?;
        self.director()
            .upload("/releases", &release)
            .await
            .context("uploading the release")?;
        Ok(())
    }

    /// The manifest of the story, for the stemcell of this stage.
    pub fn manifest(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(paths::fixture("redis-deployment.yml"))?;
        Ok(text.replace("debian-bookworm", &self.os))
    }

    /// Deploys the manifest.
    pub async fn deploy(&self, manifest: &str) -> anyhow::Result<()> {
        let task = self
            .director()
            .deploy(manifest, Duration::from_secs(600))
            .await?;
        if task.state != "done" {
            let events = self.director().output(task.id, "event").await?;
            let debug = self
                .director()
                .output(task.id, "debug")
                .await
                .unwrap_or_default();
            let debug: Vec<_> = debug.lines().rev().take(60).collect();
            let debug: Vec<_> = debug.into_iter().rev().collect();
            anyhow::bail!(
                "the deploy ended as {}: {}\n{events}\n{}",
                task.state,
                task.result,
                debug.join("\n")
            );
        }
        Ok(())
    }

    /// The instances, by index.
    pub async fn instances(&self) -> anyhow::Result<Vec<Instance>> {
        let mut instances: Vec<_> = self
            .director()
            .instances(DEPLOYMENT)
            .await?
            .into_iter()
            .map(Instance)
            .collect();
        instances.sort_by_key(|instance| instance.0["index"].as_u64());
        Ok(instances)
    }

    /// Kills redis in an instance with SIGKILL and waits for what has to follow: a new process that answers, the alert by
    /// webhook and by email.
    pub async fn kill_redis(&self, instance: &Instance) -> anyhow::Result<Killed> {
        let (mails, calls) = (self.mail.mails().len(), self.hook.calls().len());
        let old = vm::processes(instance.id(), "redis-server")?;
        let config = vm::read(
            instance.id(),
            "redis-server",
            "/var/vcap/jobs/redis/config/redis.conf",
        )?;
        ensure!(!old.is_empty(), "redis does not run in {}", instance.name());
        ensure!(
            config.contains("requirepass"),
            "redis.conf of {} is not ours",
            instance.name()
        );
        let start = Instant::now();
        for pid in &old {
            vm::kill_hard(*pid)?;
        }
        let old = &old;
        let restarted = wait::until(
            "redis to be restarted",
            Duration::from_secs(30),
            || async move {
                let new = vm::processes(instance.id(), "redis-server")?;
                if new.is_empty() || new.iter().any(|pid| old.contains(pid)) {
                    return Ok(None);
                }
                let answer = instance.redis().await?.command(&["PING"]).await?;
                Ok((answer.as_deref() == Some("PONG")).then(|| start.elapsed()))
            },
        )
        .await?;
        let webhook = wait::until(
            "the alert by webhook",
            Duration::from_secs(30),
            || async move {
                let new = self.hook.calls().into_iter().skip(calls);
                Ok(new
                    .filter(|call| is_about_redis(&call.body.to_string()))
                    .map(|call| call.at - start)
                    .next())
            },
        )
        .await?;
        let email = wait::until(
            "the alert by email",
            Duration::from_secs(30),
            || async move {
                let new = self.mail.mails().into_iter().skip(mails);
                Ok(new
                    .filter(|mail| is_about_redis(&mail.text))
                    .map(|mail| mail.at - start)
                    .next())
            },
        )
        .await?;
        Ok(Killed {
            restarted,
            webhook,
            email,
        })
    }

    /// Destroys the VM of an instance through the CPI, which the director does not hear of, and waits until it is
    /// repaired: another VM, the same disk, `key` with its value still in it.
    pub async fn destroy_vm(
        &self,
        instance: &Instance,
        key: &str,
        value: &str,
    ) -> anyhow::Result<Destroyed> {
        let calls = self.hook.calls().len();
        let start = Instant::now();
        cpi(&self.micro.dir, "delete_vm", json!([instance.vm_cid()]))?;
        let noticed = wait::until(
            "the monitor to notice",
            Duration::from_secs(120),
            || async move {
                let new = self.hook.calls().into_iter().skip(calls);
                Ok(new
                    .filter(|call| call.body.to_string().contains("timed out"))
                    .map(|call| call.at - start)
                    .next())
            },
        )
        .await?;
        let (new, repaired) = wait::until(
            "the VM to be rebuilt with its data",
            Duration::from_secs(240),
            || async move {
                let instances = self.instances().await?;
                let new = instances
                    .into_iter()
                    .find(|other| other.id() == instance.id());
                let Some(new) =
                    new.filter(|new| !new.vm_cid().is_empty() && new.vm_cid() != instance.vm_cid())
                else {
                    return Ok(None);
                };
                if new.job_state() != "running" {
                    return Ok(None);
                }
                let kept = new.redis().await?.command(&["GET", key]).await?;
                ensure!(
                    kept.as_deref() == Some(value),
                    "the key's value is {kept:?}, not {value:?}"
                );
                Ok(Some((new, start.elapsed())))
            },
        )
        .await?;
        Ok(Destroyed {
            vms: (instance.vm_cid().to_owned(), new.vm_cid().to_owned()),
            noticed,
            repaired,
        })
    }
}

fn is_about_redis(text: &str) -> bool {
    text.contains("redis")
}

/// Builds the redis release into `dir`.
pub fn redis_release(dir: &Path) -> anyhow::Result<PathBuf> {
    let tarball = redis::source()?;
    let name = tarball
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('_', "-")
        .replace(".orig", "");
    let source = release::Source {
        dir: paths::fixture("redis-release"),
        blobs: BTreeMap::from([(format!("redis/{name}"), tarball)]),
    };
    source.create("1", dir)
}

/// Calls the local CPI of the micro director under `dir`, past the director.
pub fn cpi(dir: &Path, method: &str, arguments: Value) -> anyhow::Result<Value> {
    let mut child = Command::new(paths::bin("bosh-local-cpi")?)
        .arg("--config")
        .arg(dir.join("config/cpi.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("running bosh-local-cpi")?;
    let request = json!({ "method": method, "arguments": arguments, "context": { "director_uuid": "behind-its-back" }, "api_version": 2 });
    child
        .stdin
        .take()
        .context("bosh-local-cpi has no stdin")?
        .write_all(request.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).context("reading what bosh-local-cpi answered")?;
    ensure!(
        answer["error"].is_null(),
        "bosh-local-cpi {method}: {}",
        answer["error"]
    );
    Ok(answer["result"].clone())
}
