//! The health monitor: heartbeats per second of one core, memory per agent.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use axum::{Json, Router, extract::State, routing::get};
use bosh_tests::{paths, wait};
use serde_json::{Value, json};

use crate::bus::{Bus, free_port};
use crate::process::{Guard, cpu, rss};
use crate::table::{Better, Row, Table};

const HEARTBEATS: u64 = 1_000_000;
const AGENTS: u64 = 10_000;

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    println!("==> monitor");
    let dir = tempfile::tempdir()?;
    let bus = Bus::start(dir.path()).await?;
    let base = Monitor::start(&bus, &dir.path().join("few"), 1).await?;
    let before = rss(base.process.pid())?;
    drop(base);

    let monitor = Monitor::start(&bus, &dir.path().join("many"), AGENTS).await?;
    let client = bus.client().await?;
    let payload: bytes::Bytes = heartbeat().to_string().into();
    let publish = |count: u64| {
        let (client, payload) = (client.clone(), payload.clone());
        async move {
            for beat in 0..count {
                client
                    .publish(
                        format!("hm.agent.heartbeat.{}", agent(beat % AGENTS)),
                        payload.clone(),
                    )
                    .await?;
            }
            client.flush().await?;
            anyhow::Ok(())
        }
    };
    publish(AGENTS).await?;
    monitor.received(AGENTS).await?;
    let per_agent = rss(monitor.process.pid())?.saturating_sub(before) as f64 / AGENTS as f64;

    let start = cpu(monitor.process.pid())?;
    publish(HEARTBEATS).await?;
    monitor.received(AGENTS + HEARTBEATS).await?;
    let spent = cpu(monitor.process.pid())? - start;
    table.add(Row {
        name: "monitor: heartbeats per second of one core, none lost".into(),
        value: HEARTBEATS as f64 / spent.as_secs_f64(),
        unit: "1/s",
        target: 150_000.,
        better: Better::Higher,
        against: "upstream 12,000",
    });
    table.add(Row {
        name: "monitor: memory per agent, 10,000 agents".into(),
        value: per_agent / 1024.,
        unit: "KB",
        target: 1.,
        better: Better::Lower,
        against: "upstream 6",
    });
    Ok(())
}

struct Monitor {
    process: Guard,
    log: std::path::PathBuf,
}

impl Monitor {
    /// A monitor whose director (a fake: it only lists instances) has this many agents.
    async fn start(bus: &Bus, dir: &Path, agents: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let director = fake_director(agents).await?;
        let log = dir.join("monitor.log");
        let config = json!({
            "http": { "port": free_port()? },
            "mbus": {
                "endpoint": format!("nats://127.0.0.1:{}", bus.port),
                "server_ca_path": bus.ca, "client_certificate_path": bus.cert, "client_private_key_path": bus.key,
            },
            "director": { "endpoint": format!("http://127.0.0.1:{director}"), "user": "hm", "password": "hm" },
            "intervals": { "log_stats": 0.2 },
            "logfile": log,
            "plugins": [{ "name": "logger", "events": ["alert"] }],
        });
        let file = dir.join("health_monitor.yml");
        std::fs::write(&file, serde_yaml_ng::to_string(&config)?)?;
        let mut command = Command::new(paths::bin("bosh-monitor")?);
        let process = Guard::spawn(command.arg("-c").arg(file).stdout(Stdio::null()))?;
        let monitor = Self { process, log };
        let managing = format!("managing 1 deployments, {agents} agents");
        wait::until(
            "the monitor to know its agents",
            Duration::from_secs(30),
            || async {
                Ok(std::fs::read_to_string(&monitor.log)?
                    .contains(&managing)
                    .then_some(()))
            },
        )
        .await?;
        Ok(monitor)
    }

    async fn received(&self, count: u64) -> anyhow::Result<()> {
        let line = format!("agent heartbeats received = {count},");
        wait::until(
            &format!("{count} heartbeats to be counted"),
            Duration::from_secs(120),
            || async {
                Ok(std::fs::read_to_string(&self.log)?
                    .contains(&line)
                    .then_some(()))
            },
        )
        .await
        .with_context(|| format!("the last of {}", self.log.display()))
    }
}

async fn fake_director(agents: u64) -> anyhow::Result<u16> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let instances: Vec<_> = (0..agents)
        .map(|index| json!({ "id": format!("i{index:035}"), "agent_id": agent(index), "job": "web", "index": index, "cid": format!("vm-{index}"), "expects_vm": true }))
        .collect();
    let app = Router::new()
        .route(
            "/info",
            get(|| async { Json(json!({ "user_authentication": { "type": "basic" } })) }),
        )
        .route(
            "/deployments",
            get(|| async { Json(json!([{ "name": "bench", "teams": [], "locked": false }])) }),
        )
        .route(
            "/deployments/bench/instances",
            get(|State(instances): State<Value>| async { Json(instances) }),
        )
        .route("/configs", get(|| async { Json(json!([])) }))
        .with_state(Value::Array(instances));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(port)
}

fn agent(index: u64) -> String {
    format!("{index:08x}-0000-4000-8000-000000000000")
}

/// As an agent with one disk and one process sends it.
fn heartbeat() -> Value {
    json!({
        "deployment": "bench", "job": "web", "index": 0, "job_state": "running", "node_id": agent(0), "number_of_processes": 1,
        "vitals": {
            "cpu": { "sys": "0.3", "user": "1.2", "wait": "0.1" },
            "disk": {
                "ephemeral": { "inode_percent": "1", "percent": "3" },
                "persistent": { "inode_percent": "1", "percent": "12" },
                "system": { "inode_percent": "31", "percent": "43" },
            },
            "load": ["0.05", "0.06", "0.01"],
            "mem": { "kb": "245320", "percent": "12" }, "swap": { "kb": "0", "percent": "0" },
            "uptime": { "secs": 123456 },
        },
    })
}
