//! The `bosh-agent` program: arguments, log, signals, exit codes.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use bosh_agent::config::{Flags, Invocation};
use bosh_agent::platform::linux::firewall::access;
use bosh_agent::{compile, davcli, log, supervisor};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match Invocation::parse(std::env::args_os()) {
        Ok(Invocation::Agent(flags)) => agent(flags),
        Ok(Invocation::Version) => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Invocation::Monit(arguments)) => supervisor::cli::main(
            arguments
                .into_iter()
                .map(|argument| argument.to_string_lossy().into_owned()),
        ),
        Ok(Invocation::Compile(arguments)) => {
            log::init(None);
            compile::release::main(arguments)
        }
        Ok(Invocation::MonitAccess) => monit_access(),
        Ok(Invocation::Dav(arguments)) => davcli::main(arguments),
        Err(error) => {
            eprintln!("Parsing options {error}");
            ExitCode::FAILURE
        }
    }
}

fn monit_access() -> ExitCode {
    log::init(None);
    match access::enable() {
        Ok(who) => {
            tracing::info!("{who} reaches monit's interface");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "Failed to enable monit access");
            ExitCode::FAILURE
        }
    }
}

fn agent(flags: Flags) -> ExitCode {
    let first = std::process::id() == 1;
    log::init(first.then(|| flags.base.join("bosh/log")));
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Files are all it is used for.
        .max_blocking_threads(8)
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(supervised(flags)));
    match ended {
        // As upstream: an agent has no reason to end well.
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("Agent exited with error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn supervised(flags: Flags) -> Result<()> {
    // Two crates could choose two; ours is chosen before anything connects.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another cryptography provider has been installed");
    }
    if std::process::id() == 1 {
        tokio::spawn(async {
            if let Err(error) = supervisor::reap_orphans().await {
                tracing::error!(%error, "orphans will not be buried");
            }
        });
    }
    let mut terminate = signal(SignalKind::terminate()).context("listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen to SIGINT")?;
    // A terminal that goes away is no reason to.
    let _hangup = signal(SignalKind::hangup()).context("listen to SIGHUP")?;
    bosh_agent::run(flags, async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("received {name}, stopping; what is supervised runs on");
    })
    .await
}
