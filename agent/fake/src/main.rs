//! The `bosh-agent-fake` program: simulated agents until it is interrupted.

use anyhow::Context;
use bosh_agent_fake::{Agent, Behaviour, Fleet, fleet::Bus};
use bosh_protocol::{AgentId, ApplySpec, Secret, Settings, settings::CertKeyPair};
use clap::Parser;
use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

/// Simulated agents for tests and benchmarks.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// One agent with a connection of its own for every settings file in this directory, as a CPI writes them.
    #[arg(long, conflicts_with = "nats")]
    settings_dir: Option<PathBuf>,
    /// NATS, for agents that share one connection.
    #[arg(long, required_unless_present = "settings_dir")]
    nats: Option<String>,
    /// The certificate of NATS's authority, in PEM; needs --cert and --key.
    #[arg(long, requires = "cert", requires = "key")]
    ca: Option<PathBuf>,
    /// The certificate to connect with.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// How many agents: fake-0, fake-1, ..., each an instance of --deployment.
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// What their names start with.
    #[arg(long, default_value = "fake")]
    prefix: String,
    /// The deployment they say they belong to.
    #[arg(long, default_value = "fake")]
    deployment: String,
    /// Let an agent appear when it is first asked, whatever its id.
    #[arg(long)]
    anyone: bool,
    /// Milliseconds between two heartbeats of one agent; 0 is as fast as NATS takes them.
    #[arg(long, default_value_t = 30_000)]
    heartbeat_ms: u64,
    /// No heartbeats.
    #[arg(long)]
    silent: bool,
    /// Milliseconds that every task takes.
    #[arg(long, default_value_t = 0)]
    task_ms: u64,
    /// METHOD=MESSAGE: a method that fails.
    #[arg(long, value_parser = pair)]
    fail: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (method, message) = text.split_once('=').ok_or("expected METHOD=MESSAGE")?;
    Ok((method.to_owned(), message.to_owned()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let behaviour = Behaviour {
        task_time: Duration::from_millis(args.task_ms),
        failing: args.fail.iter().cloned().collect(),
    };
    let every = Duration::from_millis(args.heartbeat_ms);
    let fleet = match &args.settings_dir {
        Some(dir) => Fleet::watching(dir, behaviour, every),
        None => {
            let url = args.nats.clone().context("--nats is missing")?;
            let bus = Bus {
                url,
                cert: cert(&args)?,
            };
            let agents = (0..args.count)
                .map(|n| agent(&args, n, &behaviour))
                .collect();
            let anyone = args.anyone.then(|| behaviour.clone());
            Fleet::shared(&bus, agents, anyone, (!args.silent).then_some(every)).await?
        }
    };
    // Whoever started it waits for this line.
    println!("ready");
    tokio::signal::ctrl_c()
        .await
        .context("waiting for the interrupt")?;
    let counters = fleet.counters();
    println!(
        "requests={} heartbeats={}",
        counters.requests.load(Ordering::Relaxed),
        counters.heartbeats.load(Ordering::Relaxed)
    );
    Ok(())
}

fn agent(args: &Args, n: u64, behaviour: &Behaviour) -> Agent {
    let id = format!("{}-{n}", args.prefix);
    let mut agent = Agent::new(
        AgentId::from(id.clone()),
        Settings::default(),
        behaviour.clone(),
    );
    agent.assume(ApplySpec {
        deployment: args.deployment.clone(),
        name: "group".to_owned(),
        index: i64::try_from(n).ok(),
        id: format!("instance-{id}").into(),
        ..ApplySpec::default()
    });
    agent
}

fn cert(args: &Args) -> anyhow::Result<Option<CertKeyPair>> {
    let (Some(ca), Some(cert), Some(key)) = (&args.ca, &args.cert, &args.key) else {
        return Ok(None);
    };
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    Ok(Some(CertKeyPair {
        ca: read(ca)?,
        certificate: read(cert)?,
        private_key: Secret::from(read(key)?),
    }))
}
