//! The `bosh-local-cpi` program.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bosh_local_cpi::config::Config;
use clap::{Parser, Subcommand};

/// A BOSH CPI that makes its VMs on this machine.
///
/// Without a command: reads one request as JSON from standard input, writes one response as JSON to standard output.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// This CPI's configuration, JSON.
    #[arg(long)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Remove all VMs, disks, stemcells, the bridge and all that is remembered of them.
    Cleanup,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The director shows standard error as the task's CPI log.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("bosh_local_cpi=debug")),
        )
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bosh-local-cpi: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = Config::read(&arguments.config);
    match arguments.command {
        Some(Command::Cleanup) => bosh_local_cpi::cleanup(config?)
            .map_err(|failures| anyhow::anyhow!("{}", failures.join("\n"))),
        None => {
            let mut request = Vec::new();
            std::io::stdin().lock().read_to_end(&mut request)?;
            let response = match config {
                Ok(config) => bosh_local_cpi::rpc::answer(config, &request),
                // The caller reads the answer, not the exit code.
                Err(error) => bosh_cpi::Response::failure(bosh_cpi::Failure::new(
                    bosh_cpi::Kind::CpiError,
                    bosh_local_cpi::chain(&error),
                )),
            };
            let mut out = std::io::stdout().lock();
            serde_json::to_writer(&mut out, &response)?;
            out.write_all(b"\n")?;
            Ok(())
        }
    }
}
