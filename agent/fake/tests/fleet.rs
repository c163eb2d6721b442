//! Fleets on a real nats-server.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like tests"
)]

use bosh_agent_fake::{Agent, Behaviour, Fleet, fleet::Bus};
use bosh_protocol::{AgentId, Heartbeat, Request, Response, Settings};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(20);

struct Nats {
    child: Child,
    url: String,
    dir: tempfile::TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nats {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed");
        // Ended whatever happens from here on.
        let mut nats = Self {
            child,
            url: String::new(),
            dir,
        };
        let deadline = Instant::now() + SOON;
        loop {
            let ports = std::fs::read_dir(nats.dir.path())
                .unwrap()
                .find_map(|entry| {
                    let json: Value =
                        serde_json::from_slice(&std::fs::read(entry.unwrap().path()).ok()?).ok()?;
                    json["nats"][0].as_str().map(str::to_owned)
                });
            if let Some(url) = ports {
                nats.url = url;
                return nats;
            }
            assert!(Instant::now() < deadline, "nats-server did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Asks as the director does: the reply's subject is in the request.
async fn ask(client: &async_nats::Client, agent: &str, method: &str, arguments: Value) -> Value {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.unwrap();
    let Value::Array(arguments) = arguments else {
        panic!("arguments are an array")
    };
    let deadline = Instant::now() + SOON;
    loop {
        let request = Request::new(method, arguments.clone(), inbox.clone());
        let payload = serde_json::to_vec(&request).unwrap();
        client
            .publish(format!("agent.{agent}"), payload.into())
            .await
            .unwrap();
        if let Ok(Some(message)) =
            tokio::time::timeout(Duration::from_millis(200), replies.next()).await
        {
            let response: Response = serde_json::from_slice(&message.payload).unwrap();
            return response.into_result().unwrap();
        }
        assert!(Instant::now() < deadline, "{agent} does not answer");
    }
}

#[tokio::test]
async fn many_agents_share_a_connection() {
    let nats = Nats::start().await;
    let client = async_nats::connect(&nats.url).await.unwrap();
    let mut heartbeats = client.subscribe("hm.agent.heartbeat.*").await.unwrap();
    client.flush().await.unwrap();
    let agents = (0..100)
        .map(|n| {
            Agent::new(
                AgentId::from(format!("a{n}")),
                Settings::default(),
                Behaviour::default(),
            )
        })
        .collect();
    let bus = Bus {
        url: nats.url.clone(),
        cert: None,
    };
    let every = Some(Duration::from_millis(50));
    let fleet = Fleet::shared(&bus, agents, Some(Behaviour::default()), every)
        .await
        .unwrap();
    assert_eq!(ask(&client, "a7", "ping", json!([])).await, "pong");
    assert_eq!(
        ask(&client, "somebody-new", "ping", json!([])).await,
        "pong"
    );
    assert_eq!(fleet.len(), 101);

    let task = ask(
        &client,
        "a8",
        "apply",
        json!([{"deployment": "d", "name": "g"}]),
    )
    .await;
    assert_eq!(
        ask(&client, "a8", "get_task", json!([task["agent_task_id"]])).await,
        "applied"
    );
    let mut seen = std::collections::BTreeSet::new();
    let mut applied = false;
    let all = async {
        while seen.len() < 101 || !applied {
            let message = heartbeats.next().await.unwrap();
            let heartbeat: Heartbeat = serde_json::from_slice(&message.payload).unwrap();
            applied |= heartbeat.deployment == "d";
            seen.insert(message.subject.to_string());
        }
    };
    tokio::time::timeout(SOON, all)
        .await
        .expect("a heartbeat of everyone");
}

#[tokio::test]
async fn agents_come_and_go_with_their_settings() {
    let nats = Nats::start().await;
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::watching(dir.path(), Behaviour::default(), Duration::from_secs(60));
    let client = async_nats::connect(&nats.url).await.unwrap();
    let settings = json!({"agent_id": "vm-1", "vm": {"name": "vm"}, "mbus": nats.url,
        "networks": {"default": {"ip": "10.0.0.5", "default": ["dns", "gateway"]}}});
    let path = dir.path().join("vm-1.json");
    std::fs::write(&path, "{\"half").unwrap();
    std::fs::write(&path, settings.to_string()).unwrap();
    let result = ask(
        &client,
        "vm-1",
        "ssh",
        json!(["setup", {"user": "bosh_x", "public_key": "k"}]),
    )
    .await;
    assert_eq!(
        (&result["ip"], &result["status"]),
        (&json!("10.0.0.5"), &json!("success"))
    );
    std::fs::remove_file(&path).unwrap();
    let deadline = Instant::now() + SOON;
    while !fleet.is_empty() {
        assert!(Instant::now() < deadline, "the agent stayed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
