//! `bosh-monitor -c health_monitor.yml`

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use bosh_monitor::config::Config;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

#[derive(Parser)]
#[command(
    name = "bosh-monitor",
    version,
    about = "Watches the agents of a BOSH director, tells people and has VMs repaired"
)]
struct Arguments {
    /// The configuration, as upstream's health monitor has it
    #[arg(short, long)]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bosh-monitor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.config)?;
    log_to(&config)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("a TLS provider is already installed")?;
    let listener = match config.http_port {
        Some(port) => Some(
            TcpListener::bind((config.own.bind, port))
                .await
                .with_context(|| format!("http.port: listening on {}:{port}", config.own.bind))?,
        ),
        None => None,
    };
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    bosh_monitor::run(config, listener, async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
    .await?;
    Ok(())
}

fn log_to(config: &Config) -> anyhow::Result<()> {
    let filter = Targets::new()
        .with_target("bosh_monitor", config.loglevel)
        .with_default(tracing::Level::WARN);
    let registry = tracing_subscriber::registry().with(filter);
    match &config.logfile {
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.with_context(|| format!("logfile: opening {}", path.display()))?;
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(Mutex::new(file));
            registry.with(layer).init();
        }
        None => registry
            .with(tracing_subscriber::fmt::layer().with_ansi(false))
            .init(),
    }
    Ok(())
}
