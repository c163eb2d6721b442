//! The `bosh-stemcell-builder` program.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use bosh_stemcell_builder::bake::{self, Options, Progress};
use bosh_stemcell_builder::plan::Plan;
use bosh_stemcell_builder::recipe::{Raw, Recipe};
use clap::{Parser, Subcommand};

/// Bakes BOSH stemcells.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bake a stemcell; its path is printed when it is done.
    #[command(disable_version_flag = true)]
    Build(Build),
}

#[derive(clap::Args)]
struct Build {
    /// ubuntu-jammy, ubuntu-noble, debian-bookworm, debian-trixie or centos-stream-9.
    #[arg(long)]
    os: String,
    /// Who runs it: warden.
    #[arg(long)]
    infrastructure: String,
    /// The agent: a static binary.
    #[arg(long)]
    agent: PathBuf,
    /// What is monit in it, for an agent that is not ours: our agent's binary, or monit's. Default: the agent's.
    #[arg(long)]
    monit: Option<PathBuf>,
    /// Where the stemcell goes.
    #[arg(long)]
    output: PathBuf,
    /// Where packages come from. Default: this machine's own sources if it runs the same release, else the distribution's.
    #[arg(long)]
    mirror: Option<String>,
    /// Version of the stemcell.
    #[arg(long)]
    version: Option<String>,
    /// Name of the stemcell in stemcell.MF.
    #[arg(long)]
    name: Option<String>,
    /// Where installed packages are kept for the next bake.
    #[arg(long, default_value = "/var/cache/bosh-stemcell-builder")]
    work: PathBuf,
    /// Install the packages anew.
    #[arg(long)]
    refresh: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    plan: bool,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .init();
    let Command::Build(arguments) = Arguments::parse().command;
    match build(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bosh-stemcell-builder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(arguments: Build) -> anyhow::Result<()> {
    let recipe = Recipe::resolve(Raw {
        os: arguments.os,
        infrastructure: arguments.infrastructure,
        agent: arguments.agent,
        monit: arguments.monit,
        mirror: arguments.mirror,
        version: arguments.version,
        name: arguments.name,
    })?;
    let plan = Plan::new(&recipe);
    if arguments.plan {
        print!("{}", plan.to_yaml()?);
        return Ok(());
    }
    let options = Options {
        output: arguments.output,
        work: arguments.work,
        refresh: arguments.refresh,
    };
    let started = Instant::now();
    let mut lines = Lines { started };
    let stemcell = bake::bake(&recipe, &plan, &options, &mut lines)?;
    let size = std::fs::metadata(&stemcell)?.len();
    eprintln!(
        "baked {} {} in {:.1} s, {} MB",
        recipe.name,
        recipe.version,
        started.elapsed().as_secs_f64(),
        size / 1_000_000
    );
    println!("{}", stemcell.display());
    Ok(())
}

/// Progress as lines on standard error, each with the seconds since the start.
struct Lines {
    started: Instant,
}

impl Progress for Lines {
    fn stage(&mut self, number: usize, of: usize, name: &str) {
        eprintln!(
            "{:7.1}s [{number:2}/{of}] {name}",
            self.started.elapsed().as_secs_f64()
        );
    }

    fn detail(&mut self, text: &str) {
        eprintln!(
            "{:7.1}s         {text}",
            self.started.elapsed().as_secs_f64()
        );
    }
}
