//! The real agent on the dummy platform, and a director and a health monitor to speak to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::{Client, Subscriber};
use bosh_protocol::{AgentTask, Alert, Heartbeat, Response};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::nats::Nats;
use super::{DEADLINE, eventually};

/// The id all tests use; each has a nats-server of its own.
pub(crate) const ID: &str = "5fa3a7f0-43c2-4f0b-9f83-d9f0c0c7f9b1";

/// One agent; ended when dropped.
pub(crate) struct Agent {
    pub(crate) dir: tempfile::TempDir,
    process: Child,
}

impl Agent {
    /// Starts an agent on that nats-server with these settings added.
    pub(crate) fn start(nats: &Nats, more: Value) -> Self {
        Self::start_on(&nats.url(), nats.ca.agent(ID).settings(), more)
    }

    /// Starts an agent on that message bus with these settings added.
    pub(crate) fn start_on(url: &str, cert: Value, more: Value) -> Self {
        Self::start_through(&[], url, cert, more)
    }

    /// Starts an agent in a mount namespace of its own, after a shell command in there.
    pub(crate) fn start_in_namespace(url: &str, cert: Value, before: &str) -> Self {
        let before = format!("{before} && exec \"$@\"");
        let through = ["unshare", "-m", "sh", "-c", &before, "sh"];
        Self::start_through(&through, url, cert, json!({}))
    }

    fn start_through(through: &[&str], url: &str, cert: Value, more: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        std::fs::create_dir_all(base.join("bosh")).unwrap();
        std::fs::create_dir_all(dir.path().join("blobs")).unwrap();
        let mut settings = json!({
            "agent_id": ID,
            "networks": {"private": {"type": "manual", "ip": "10.244.0.10", "netmask": "255.255.255.0",
                                     "default": ["gateway", "dns"], "preconfigured": true}},
            "vm": {"name": "vm-1"},
            "env": {"bosh": {
                "mbus": {"urls": [url], "cert": cert},
                "blobstores": [{"provider": "local", "options": {"blobstore_path": dir.path().join("blobs")}}],
            }},
        });
        merge(&mut settings, more);
        std::fs::write(dir.path().join("env.json"), settings.to_string()).unwrap();
        let source = json!({"Type": "File", "SettingsPath": dir.path().join("env.json")});
        let config = json!({"Infrastructure": {"Settings": {"Sources": [source]}}});
        std::fs::write(dir.path().join("agent.json"), config.to_string()).unwrap();
        let process = Self::spawn(through, dir.path());
        Self { dir, process }
    }

    fn spawn(through: &[&str], dir: &Path) -> Child {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(dir.join("log"))
            .unwrap();
        // The binary of another profile, when that is what is to be tested.
        let program = std::env::var_os("BOSH_AGENT_BIN");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_bosh-agent").into());
        let mut command = match through {
            [] => Command::new(program),
            [first, more @ ..] => {
                let mut command = Command::new(first);
                command.args(more).arg(program);
                command
            }
        };
        command
            .args(["-P", "dummy", "-C"])
            .arg(dir.join("agent.json"))
            .arg("-b")
            .arg(dir.join("base"))
            .env("BOSH_AGENT_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Kills the agent and starts it again.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = Self::spawn(&[], self.dir.path());
    }

    /// The agent's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its exit status, once it has ended.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let process = &mut self.process;
        eventually("the agent ends", || {
            let status = process.try_wait().unwrap();
            async move { status }
        })
        .await
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.dir.path().join("base")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", self.log());
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The director's end.
pub(crate) struct Director {
    client: Client,
    replies: Subscriber,
    requests: u64,
    given_up: Vec<String>,
}

impl Director {
    pub(crate) async fn connect(nats: &Nats) -> Self {
        let client = nats.connect("default.director.bosh-internal").await;
        let replies = client
            .subscribe(format!("director.d-1.{ID}.>"))
            .await
            .unwrap();
        client.flush().await.unwrap();
        Self {
            client,
            replies,
            requests: 0,
            given_up: Vec::new(),
        }
    }

    /// Waits until the agent answers.
    pub(crate) async fn wait_until_ready(&mut self) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self
            .try_call("ping", json!([]), Duration::from_millis(200))
            .await
            .is_none()
        {
            assert!(
                tokio::time::Instant::now() < deadline,
                "the agent does not answer"
            );
        }
    }

    /// One request; `None` if it is not answered in time.
    pub(crate) async fn try_call(
        &mut self,
        method: &str,
        arguments: Value,
        wait: Duration,
    ) -> Option<Response> {
        self.requests += 1;
        let reply_to = format!("director.d-1.{ID}.{}", self.requests);
        let request =
            json!({"protocol": 3, "method": method, "arguments": arguments, "reply_to": reply_to});
        self.client
            .publish(format!("agent.{ID}"), request.to_string().into())
            .await
            .unwrap();
        self.client.flush().await.unwrap();
        tokio::time::timeout(wait, async {
            loop {
                let message = self.replies.next().await.unwrap();
                if message.subject.as_str() == reply_to {
                    return serde_json::from_slice(&message.payload).unwrap();
                }
                // Answers to requests that were given up may come late; others must not.
                assert!(
                    self.given_up.contains(&message.subject.to_string()),
                    "a second {}",
                    message.subject
                );
            }
        })
        .await
        .inspect_err(|_| self.given_up.push(reply_to.clone()))
        .ok()
    }

    /// How many replies come that nobody waits for.
    pub(crate) async fn unexpected_replies(&mut self, listen: Duration) -> usize {
        let mut count = 0;
        while let Ok(Some(_)) = tokio::time::timeout(listen, self.replies.next()).await {
            count += 1;
        }
        count
    }

    /// One request's value or the message of its exception.
    pub(crate) async fn call(&mut self, method: &str, arguments: Value) -> Result<Value, String> {
        let response = self.try_call(method, arguments, DEADLINE).await;
        let response = response.unwrap_or_else(|| panic!("no answer to {method}"));
        response
            .into_result()
            .map_err(|exception| exception.message)
    }

    /// Starts a task and returns its id.
    pub(crate) async fn start(&mut self, method: &str, arguments: Value) -> String {
        let value = self.call(method, arguments).await.unwrap();
        let task: AgentTask = serde_json::from_value(value).unwrap();
        task.agent_task_id.into_string()
    }

    /// Waits for a task.
    pub(crate) async fn wait(&mut self, id: &str) -> Result<Value, String> {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let value = self.call("get_task", json!([id])).await?;
            if value["state"] != "running" || value["agent_task_id"].is_null() {
                return Ok(value);
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "task {id} does not end"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts a task and waits for it.
    pub(crate) async fn task(&mut self, method: &str, arguments: Value) -> Result<Value, String> {
        let id = self.start(method, arguments).await;
        self.wait(&id).await
    }
}

/// The health monitor's end.
pub(crate) struct Monitor {
    heartbeats: Subscriber,
    alerts: Subscriber,
    shutdowns: Subscriber,
}

impl Monitor {
    pub(crate) async fn connect(nats: &Nats) -> Self {
        let client = nats.connect("default.hm.bosh-internal").await;
        let heartbeats = client.subscribe("hm.agent.heartbeat.*").await.unwrap();
        let alerts = client.subscribe("hm.agent.alert.*").await.unwrap();
        let shutdowns = client.subscribe("hm.agent.shutdown.*").await.unwrap();
        client.flush().await.unwrap();
        Self {
            heartbeats,
            alerts,
            shutdowns,
        }
    }

    /// The next heartbeat.
    pub(crate) async fn heartbeat(&mut self) -> Heartbeat {
        decode(&mut self.heartbeats, "heartbeat").await
    }

    /// The next heartbeat with that state.
    pub(crate) async fn heartbeat_with(&mut self, state: &str) -> Heartbeat {
        loop {
            let heartbeat = self.heartbeat().await;
            if heartbeat.job_state.as_str() == state {
                return heartbeat;
            }
        }
    }

    /// The next alert.
    pub(crate) async fn alert(&mut self) -> Alert {
        decode(&mut self.alerts, "alert").await
    }

    /// The next shutdown message.
    pub(crate) async fn shutdown(&mut self) -> Value {
        decode(&mut self.shutdowns, "shutdown").await
    }
}

async fn decode<T: DeserializeOwned>(subscriber: &mut Subscriber, what: &str) -> T {
    let message = tokio::time::timeout(DEADLINE, subscriber.next()).await;
    let message = message.unwrap_or_else(|_| panic!("no {what}")).unwrap();
    assert!(message.subject.ends_with(ID));
    serde_json::from_slice(&message.payload).unwrap()
}
