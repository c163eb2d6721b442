//! The health monitor: heartbeats per second of one core, memory per agent.

use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{FakeDirector, Known, agent_id, instance};
use bosh_tests::monitor::Monitor;
use bosh_tests::process::{cpu, rss};
use serde_json::{Value, json};

use crate::table::{Better, Row, Table};

const HEARTBEATS: u64 = 1_000_000;
const AGENTS: u64 = 10_000;

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    println!("==> monitor");
    let dir = tempfile::tempdir()?;
    let bus = Bus::start(dir.path()).await?;
    let start = |name: &str, agents: u64| {
        let (bus, dir) = (&bus, dir.path().join(name));
        async move {
            let known = Known {
                instances: (0..agents).map(instance).collect(),
                ..Known::default()
            };
            let director = FakeDirector::start(known).await?;
            Monitor::start(
                bus,
                &director,
                &dir,
                json!({}),
                json!([{ "name": "logger", "events": ["alert"] }]),
            )
            .await
        }
    };
    let few = start("few", 1).await?;
    let before = rss(few.process.pid())?;
    drop(few);

    let monitor = start("many", AGENTS).await?;
    let client = bus.client().await?;
    let payload: bytes::Bytes = heartbeat().to_string().into();
    let publish = |count: u64| {
        let (client, payload) = (client.clone(), payload.clone());
        async move {
            for beat in 0..count {
                client
                    .publish(
                        format!("hm.agent.heartbeat.{}", agent_id(beat % AGENTS)),
                        payload.clone(),
                    )
                    .await?;
            }
            client.flush().await?;
            anyhow::Ok(())
        }
    };
    publish(AGENTS).await?;
    monitor
        .logs(&format!("Agent heartbeats received = {AGENTS}\n"))
        .await?;
    let per_agent = rss(monitor.process.pid())?.saturating_sub(before) as f64 / AGENTS as f64;

    let start = cpu(monitor.process.pid())?;
    publish(HEARTBEATS).await?;
    monitor
        .logs(&format!(
            "Agent heartbeats received = {}\n",
            AGENTS + HEARTBEATS
        ))
        .await?;
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

/// As an agent with one disk and one process sends it.
fn heartbeat() -> Value {
    json!({
        "deployment": "dep", "job": "web", "index": 0, "job_state": "running", "node_id": agent_id(0), "number_of_processes": 1,
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
