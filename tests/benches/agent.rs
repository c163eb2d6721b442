//! The agent: what it weighs, how soon it answers, how it notices and restarts what died, how it installs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bosh_tests::agent::{Agent, Peer};
use bosh_tests::bus::Bus;
use bosh_tests::paths;
use bosh_tests::process::{rss, thread_times};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::blobs::Blobs;
use crate::table::{Better, Row, Table, median};
use crate::{install, peer, services};

const STARTS: usize = 11;
const PROCESSES: usize = 10;
/// As many processes: one that dies again within a minute is restarted with a delay, on purpose.
const KILLS: usize = 20;
/// What a large VM has, and much more.
const MANY: usize = 500;
/// Long enough for one heartbeat, which comes every 30 s.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(table: &mut Table) -> anyhow::Result<()> {
    println!("==> agent");
    table.add(Row {
        name: "agent: static binary".into(),
        value: std::fs::metadata(paths::static_agent()?)?.len() as f64 / 1e6,
        unit: "MB",
        target: 7.,
        better: Better::Lower,
        against: "upstream 23.5 + monit 0.9",
    });
    let dir = tempfile::tempdir()?;
    let bus = Bus::start(dir.path()).await?;
    starts(table, &bus, dir.path()).await?;
    let blobs = Blobs::start().await?;
    idle(table, &bus, &blobs, &dir.path().join("idle")).await?;
    kills(table, &bus, &blobs, &dir.path().join("kills")).await?;
    many(table, &bus, &blobs, &dir.path().join("many")).await?;
    peer::measure(table, &dir.path().join("peer"))?;
    install::measure(table, &bus, &blobs, &dir.path().join("install")).await
}

async fn starts(table: &mut Table, bus: &Bus, dir: &Path) -> anyhow::Result<()> {
    let (mut answers, mut beats) = (Vec::new(), Vec::new());
    let blobstore = json!({ "provider": "local", "options": { "blobstore_path": dir } });
    for start in 0..STARTS {
        let dir = dir.join(format!("start-{start}"));
        let (mut asks, mut listens) = (Peer::connect(bus).await?, Peer::connect(bus).await?);
        let begun = Instant::now();
        let _agent = Agent::start(bus, &dir, blobstore.clone())?;
        let (answer, beat) = tokio::join!(
            async { asks.ping().await.map(|()| begun.elapsed()) },
            async { listens.heartbeat().await.map(|()| begun.elapsed()) },
        );
        answers.push(answer?);
        beats.push(beat?);
    }
    let row = |what: &str, times, target, against| Row {
        name: format!("agent: start -> {what}, median of {STARTS}"),
        value: median(times) * 1e3,
        unit: "ms",
        target,
        better: Better::Lower,
        against,
    };
    table.add(row("answers ping", answers, 45., "upstream 45"));
    table.add(row(
        "first heartbeat received",
        beats,
        150.,
        "upstream 30,000 (its first is lost)",
    ));
    Ok(())
}

/// An agent with a running job; ends the agent first, then what it would otherwise start again.
struct Deployed {
    agent: Agent,
    peer: Peer,
    processes: usize,
}

impl Deployed {
    async fn start(bus: &Bus, blobs: &Blobs, dir: &Path, processes: usize) -> anyhow::Result<Self> {
        let mut deployed = Self {
            peer: Peer::connect(bus).await?,
            agent: Agent::start(bus, dir, blobs.settings())?,
            processes,
        };
        let spec = services::spec(&deployed.agent.base, blobs, processes)?;
        let peer = &mut deployed.peer;
        peer.ping().await?;
        peer.heartbeat().await?;
        peer.task("prepare", json!([spec])).await?;
        peer.task("apply", json!([spec])).await?;
        peer.call("start", json!([])).await?;
        peer.state("running").await?;
        Ok(deployed)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = self.agent.process.0.kill();
        let _ = self.agent.process.0.wait();
        for service in 0..self.processes {
            if let Ok(pid) = pid(&services::pid_file(&self.agent.base, service)) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

async fn idle(table: &mut Table, bus: &Bus, blobs: &Blobs, dir: &Path) -> anyhow::Result<()> {
    let mut deployed = Deployed::start(bus, blobs, dir, PROCESSES).await?;
    let process = deployed.agent.process.pid();
    // A heartbeat marks the beginning, so that the same number of them is in every run.
    deployed.peer.heartbeat().await?;
    let share = share_of_a_core(process).await?;
    table.add(Row {
        name: format!("agent: idle RSS, {PROCESSES} supervised processes"),
        value: rss(process)? as f64 / 1e6,
        unit: "MB",
        target: 8.,
        better: Better::Lower,
        against: "upstream 22.5 + monit 3.5",
    });
    table.add(Row {
        name: format!("agent: idle CPU per minute, {PROCESSES} processes"),
        value: share * 60.,
        unit: "s",
        target: 0.02,
        better: Better::Lower,
        against: "upstream 0.02 + monit 0.05",
    });

    Ok(())
}

/// CPU time of a process for each second in which nothing happens.
async fn share_of_a_core(process: u32) -> anyhow::Result<f64> {
    let mut before = thread_times(process)?;
    let mut spent = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < IDLE {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = thread_times(process)?;
        for (thread, time) in &now {
            spent += time.saturating_sub(before.get(thread).copied().unwrap_or_default());
        }
        before = now;
    }
    Ok(spent.as_secs_f64() / begun.elapsed().as_secs_f64())
}

/// Many services that do nothing.
async fn many(table: &mut Table, bus: &Bus, blobs: &Blobs, dir: &Path) -> anyhow::Result<()> {
    let mut deployed = Deployed::start(bus, blobs, dir, MANY).await?;
    deployed.peer.heartbeat().await?;
    let share = share_of_a_core(deployed.agent.process.pid()).await?;
    table.add(Row {
        name: format!("agent: share of a core, {MANY} idle services"),
        value: share * 100.,
        unit: "%",
        target: 1.,
        better: Better::Lower,
        against: "",
    });
    Ok(())
}

async fn kills(table: &mut Table, bus: &Bus, blobs: &Blobs, dir: &Path) -> anyhow::Result<()> {
    let mut deployed = Deployed::start(bus, blobs, dir, KILLS).await?;
    let (base, peer) = (deployed.agent.base.clone(), &mut deployed.peer);
    let (mut known, mut restarted) = (Vec::new(), Vec::new());
    for victim in 0..KILLS {
        let (file, name) = (services::pid_file(&base, victim), services::name(victim));
        let old = pid(&file)?;
        let begun = Instant::now();
        kill(old, Signal::SIGKILL)?;
        let (alert, new) = tokio::join!(
            async {
                let title = [name.as_str(), "Does not exist"];
                peer.alert(&title).await.map(|()| begun.elapsed())
            },
            async { reborn(&file, old).await.map(|()| begun.elapsed()) },
        );
        known.push(alert?);
        restarted.push(new?);
    }
    let row = |what: &str, times, target| Row {
        name: format!("agent: supervised process dies -> {what}, median of {KILLS}"),
        value: median(times) * 1e3,
        unit: "ms",
        target,
        better: Better::Lower,
        against: "monit's cycle, 10,000 or more",
    };
    table.add(row("alert received", known, 10.));
    table.add(row("restarted", restarted, 250.));
    Ok(())
}

/// Waits for another process in a pid file; `wait::until` is too coarse for this.
async fn reborn(file: &Path, old: Pid) -> anyhow::Result<()> {
    let look = async {
        loop {
            if pid(file).is_ok_and(|new| new != old && kill(new, None).is_ok()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look)
        .await
        .with_context(|| format!("no new process in {}", file.display()))
}

fn pid(file: &Path) -> anyhow::Result<Pid> {
    Ok(Pid::from_raw(
        std::fs::read_to_string(file)?.trim().parse()?,
    ))
}
