//! The `bosh-director` program.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bosh_director::config::Config;
use bosh_director::serve::{self, Role, Running};
use bosh_director::{micro, nats_sync};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// The BOSH director.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the director: its API, its tasks, and what it keeps itself.
    Serve(File),
    /// Only run tasks, for a director elsewhere with the same database.
    Worker(File),
    /// Bring the database's schema up to date.
    Migrate(File),
    /// Keep the users of a nats-server that somebody else runs, as upstream's bosh-nats-sync.
    NatsSync(File),
    /// Run a whole director on this machine, from nothing.
    Micro(micro::Options),
    /// Remove everything that a micro director left on this machine.
    MicroDown {
        /// Its directory.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct File {
    /// Configuration file, as upstream renders it.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bosh-director: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    // The only one; fails when somebody was faster, which is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(dispatch(arguments.command));
    // Nothing that matters is left on blocking threads.
    runtime.shutdown_background();
    result
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    match command {
        Command::Serve(file) => {
            let config = load(&file)?;
            let running = Running::start(config, Role::Director).await?;
            running.until(stop).await
        }
        Command::Worker(file) => {
            let config = load(&file)?;
            let running = Running::start(config, Role::Worker).await?;
            running.until(stop).await
        }
        Command::Migrate(file) => {
            let config = load(&file)?;
            let db = serve::open_database(&config.db).await?;
            db.close().await.context("close the database")
        }
        Command::NatsSync(file) => {
            let log_file = nats_sync::log_file(&file.config)?;
            log("info", log_file.as_deref())?;
            nats_sync::run(&file.config, stop).await
        }
        Command::Micro(options) => {
            log(&options.log_level, None)?;
            micro::run(options, std::io::stdout(), stop).await
        }
        Command::MicroDown { dir } => {
            log("warn", None)?;
            micro::down(&dir).await
        }
    }
}

fn load(file: &File) -> anyhow::Result<Config> {
    let config = serve::load(&file.config)?;
    log(&config.log_level, config.log_file.as_deref())?;
    if !config.unknown_keys.is_empty() {
        tracing::warn!(
            file = %file.config.display(),
            keys = config.unknown_keys.join(", "),
            "keys that this director does not know are ignored"
        );
    }
    Ok(config)
}

/// To standard error when there is no file: standard output is for what scripts read.
fn log(level: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(directives(level)));
    let (writer, ansi) = match file {
        None => (
            BoxMakeWriter::new(std::io::stderr),
            std::io::stderr().is_terminal(),
        ),
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("open log file {}", path.display()))?;
            (BoxMakeWriter::new(Arc::new(file)), false)
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter.with_context(|| format!("log level '{level}'"))?)
        .with_writer(writer)
        .with_ansi(ansi)
        .init();
    Ok(())
}

/// A bare level is meant for our own code.
fn directives(level: &str) -> String {
    const OTHERS: &str = "info,async_nats=warn,sea_orm_migration=warn";
    match level {
        "debug" | "trace" => format!("{OTHERS},bosh_director={level},bosh_cpi={level}"),
        "info" => OTHERS.to_string(),
        other => other.to_string(),
    }
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("listen to signals")?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}
