//! The health monitor: heartbeats per second of one core, memory per agent, from an alert on the bus to a webhook, and how long
//! it takes to look at all agents. What is sent is counted on the other side.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::Client;
use bosh_tests::bus::Bus;
use bosh_tests::fake_director::{FakeDirector, Known, agent_id, instance};
use bosh_tests::monitor::Monitor;
use bosh_tests::process::{cpu, rss};
use bosh_tests::{wait, webhook};
use serde_json::{Value, json};

use crate::table::{Better, Row, Table};

const HEARTBEATS: u64 = 1_000_000;

/// How many agents memory is measured with, and what a design of kilobytes may take.
const FLEETS: [u64; 3] = [1_000, 10_000, 100_000];

/// The fleet whose heartbeats are timed.
const TIMED: u64 = 10_000;

const ALERTS: usize = 1_000;

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    println!("==> monitor");
    let dir = tempfile::tempdir()?;
    let bus = Bus::start(dir.path()).await?;
    let client = bus.client().await?;
    let payload: bytes::Bytes = heartbeat().to_string().into();

    let few = start(&bus, &dir.path().join("few"), 1, json!({})).await?;
    beat(&client, &few, &payload, 1, 1, 1).await?;
    let before = rss(few.process.pid())?;
    drop(few);
    for agents in FLEETS {
        let intervals =
            json!({ "poll_grace_period": 0, "analyze_agents": 1, "agent_timeout": 600 });
        let dir = dir.path().join(agents.to_string());
        let monitor = start(&bus, &dir, agents, intervals).await?;
        beat(&client, &monitor, &payload, agents, agents, agents).await?;
        let used = rss(monitor.process.pid())?.saturating_sub(before);
        table.add(Row {
            name: format!("monitor: memory per agent, {agents} agents"),
            value: used as f64 / agents as f64 / 1024.,
            unit: "KB",
            target: 1.,
            better: Better::Lower,
            against: "upstream 6",
        });
        if agents == TIMED {
            heartbeats(table, &client, &monitor, &payload).await?;
        }
        if Some(&agents) == FLEETS.last() {
            analysis(table, &monitor, agents).await?;
        }
    }
    latency(table, &bus, &client, dir.path()).await
}

async fn start(bus: &Bus, dir: &Path, agents: u64, intervals: Value) -> anyhow::Result<Monitor> {
    let known = Known {
        instances: (0..agents).map(instance).collect(),
        ..Known::default()
    };
    let director = FakeDirector::start(known).await?;
    let plugins = json!([{ "name": "logger", "events": ["alert"] }]);
    Monitor::start(bus, &director, dir, intervals, plugins).await
}

/// Sends `count` heartbeats from `agents` in turn, and waits until the monitor says that it has taken `total` of all, no more and
/// no less. By its log: a page of metrics for every agent would be in its memory too.
async fn beat(
    client: &Client,
    monitor: &Monitor,
    payload: &bytes::Bytes,
    agents: u64,
    count: u64,
    total: u64,
) -> anyhow::Result<()> {
    for beat in 0..count {
        let subject = format!("hm.agent.heartbeat.{}", agent_id(beat % agents));
        client.publish(subject, payload.clone()).await?;
    }
    client.flush().await?;
    monitor
        .logs(&format!("Agent heartbeats received = {total}\n"))
        .await
}

async fn heartbeats(
    table: &mut Table,
    client: &Client,
    monitor: &Monitor,
    payload: &bytes::Bytes,
) -> anyhow::Result<()> {
    let start = cpu(monitor.process.pid())?;
    beat(
        client,
        monitor,
        payload,
        TIMED,
        HEARTBEATS,
        TIMED + HEARTBEATS,
    )
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
    Ok(())
}

async fn analysis(table: &mut Table, monitor: &Monitor, agents: u64) -> anyhow::Result<()> {
    let took = wait::until("an analysis", Duration::from_secs(60), || {
        monitor.metric("bosh_monitor_analysis_duration_seconds")
    })
    .await?;
    table.add(Row {
        name: format!("monitor: analysis of {agents} agents"),
        value: took * 1000.,
        unit: "ms",
        target: 100.,
        better: Better::Lower,
        against: "",
    });
    Ok(())
}

/// An agent says that a process died; a webhook hears of it.
async fn latency(table: &mut Table, bus: &Bus, client: &Client, dir: &Path) -> anyhow::Result<()> {
    let hook = webhook::Listener::start().await?;
    let director = FakeDirector::start(Known {
        instances: vec![instance(0)],
        ..Known::default()
    })
    .await?;
    let plugins = json!([{ "name": "webhook", "events": ["alert"], "options": { "url": format!("http://{}/", hook.addr) } }]);
    let monitor = Monitor::start(bus, &director, &dir.join("latency"), json!({}), plugins).await?;
    monitor.leads(Duration::from_secs(30)).await?;
    let mut took = Vec::with_capacity(ALERTS);
    for at in 0..ALERTS {
        let alert = json!({ "id": format!("b-{at}"), "severity": 2, "title": "redis - does not exist - restart", "created_at": 1 });
        let subject = format!("hm.agent.alert.{}", agent_id(0));
        let sent = Instant::now();
        client.publish(subject, alert.to_string().into()).await?;
        client.flush().await?;
        let call = wait::until("the webhook", Duration::from_secs(10), || async {
            Ok(hook.calls().get(at).cloned())
        })
        .await?;
        took.push(call.at.duration_since(sent));
    }
    took.sort();
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let at = ((ALERTS - 1) as f64 * share) as usize;
        table.add(Row {
            name: format!("monitor: alert published -> webhook called, {name}"),
            value: took[at].as_secs_f64() * 1000.,
            unit: "ms",
            target: 10.,
            better: Better::Lower,
            against: "",
        });
    }
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
