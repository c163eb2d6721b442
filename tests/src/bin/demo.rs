//! `make demo`: one command deploys real software onto VMs, supervises it, watches it and repairs it, and says so step by
//! step.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bosh_tests::story::{DEPLOYMENT, Stage};
use bosh_tests::{micro, stemcell, wait};
use clap::{Parser, Subcommand};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "Shows the whole system at work, from nothing")]
struct Arguments {
    /// Where everything of the demo is kept while it runs.
    #[arg(long, global = true, default_value = "/var/tmp/bosh-demo")]
    dir: PathBuf,
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs the demo, then keeps everything up until Ctrl-C.
    Up {
        /// Take everything down at the end instead.
        #[arg(long)]
        once: bool,
    },
    /// Takes down what a demo left or still runs.
    Down,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pidfile = arguments.dir.join("demo.pid");
    let outcome = match arguments.command {
        What::Up { once } => up(&arguments.dir, &pidfile, once).await,
        What::Down => down(&arguments.dir, &pidfile).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn up(dir: &Path, pidfile: &Path, once: bool) -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the demo makes VMs and a network for them: run it as root"
    );
    if running(pidfile).is_some() {
        anyhow::bail!(
            "a demo is already up in {}; `make demo-down` ends it",
            dir.display()
        );
    }
    if dir.exists() {
        say("==> taking down what an earlier demo left");
        clear(dir, pidfile)?;
    }
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    fs::write(pidfile, std::process::id().to_string())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let mut stage = None;
    let outcome = tokio::select! {
        outcome = tell(dir, &mut stage) => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    if outcome.is_ok() && !once {
        say("\nIt stays up until Ctrl-C (or `make demo-down`).");
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    }
    say("==> taking everything down");
    match stage {
        Some(stage) => stage.micro.down()?,
        None => clear(dir, pidfile)?,
    }
    outcome
}

async fn tell(dir: &Path, kept: &mut Option<Stage>) -> anyhow::Result<()> {
    let mut clock = Clock::start();

    clock.step("1. a stemcell, baked from this machine's own package mirror");
    let baked = tokio::task::spawn_blocking(stemcell::baked).await??;
    clock.done(&format!(
        "{} ({})",
        baked.tarball.display(),
        if baked.fresh {
            "baked"
        } else {
            "baked before, reused"
        }
    ));

    clock.step(
        "2. bosh-director micro: CA, nats-server, database, blobstore, local CPI, health monitor",
    );
    let stage = kept.insert(Stage::open(dir).await?);
    clock.done(&format!("{} answers", stage.micro.env["BOSH_ENVIRONMENT"]));

    clock.step("3. the stemcell and a release with redis's source, uploaded");
    stage.upload(&baked.tarball).await?;
    clock.done("both stored");

    clock.step(
        "4. two instances, deployed: compiled from source, VMs made, disks mounted, redis started",
    );
    stage.deploy(&stage.manifest()?).await?;
    let instances = stage.instances().await?;
    ensure!(
        instances.len() == 2,
        "expected 2 instances, there are {}",
        instances.len()
    );
    for instance in &instances {
        ensure!(
            instance.job_state() == "running",
            "{} is {}",
            instance.name(),
            instance.job_state()
        );
        say(&format!("   {}", instance.line()));
    }
    let first = &instances[0];
    first
        .redis()
        .await?
        .command(&["SET", "promise", "kept"])
        .await?;
    let second = &instances[1];
    wait::until(
        "the second redis to have followed the first",
        Duration::from_secs(30),
        || async move {
            Ok(second
                .redis()
                .await?
                .command(&["GET", "promise"])
                .await?
                .filter(|value| value == "kept"))
        },
    )
    .await?;
    clock.done("running; a key was written into redis/0 and has reached redis/1");

    clock.step("5. redis killed with SIGKILL inside a VM");
    let killed = stage.kill_redis(first).await?;
    clock.done(&format!(
        "restarted and answering after {:.0?}, alert by webhook after {:.0?}, by email after {:.0?}",
        killed.restarted, killed.webhook, killed.email
    ));

    clock.step("6. a whole VM destroyed behind the director's back");
    let destroyed = stage.destroy_vm(first, "promise", "kept").await?;
    clock.done(&format!(
        "noticed after {:.1?}, rebuilt after {:.1?} ({} -> {}), disk reattached, the key is still there",
        destroyed.noticed, destroyed.repaired, destroyed.vms.0, destroyed.vms.1
    ));

    say(&format!(
        "\n==> all of it in {:.1?}. For the bosh CLI (deployment `{DEPLOYMENT}`):\n",
        clock.begun.elapsed()
    ));
    say(fs::read_to_string(dir.join("micro.env"))?.trim_end());
    Ok(())
}

async fn down(dir: &Path, pidfile: &Path) -> anyhow::Result<()> {
    if let Some(pid) = running(pidfile) {
        kill(pid, Signal::SIGTERM).context("ending the demo")?;
        // A bake is not broken off: what it makes is the next demo's.
        say("==> the demo that runs is taken down");
        return wait::until("the demo to end", Duration::from_secs(300), || async move {
            Ok((!is_demo(pid)).then_some(()))
        })
        .await;
    }
    if dir.exists() {
        clear(dir, pidfile)?;
    }
    Ok(())
}

/// Removes what a demo that no longer runs has left: with the director's own command if it came as far as a director.
fn clear(dir: &Path, pidfile: &Path) -> anyhow::Result<()> {
    // Only the demo writes a pid file, and before anything else: a folder without one may be anybody's.
    if pidfile.exists() && !micro::is_one(dir) {
        return fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()));
    }
    micro::run_down(dir)
}

/// The demo that the pid file names, if it runs.
fn running(pidfile: &Path) -> Option<Pid> {
    let pid = Pid::from_raw(fs::read_to_string(pidfile).ok()?.trim().parse().ok()?);
    is_demo(pid).then_some(pid)
}

fn is_demo(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "demo")
}

/// A reader that went away is no reason to leave machines up.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Says how long each step took.
struct Clock {
    begun: Instant,
    step: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            step: Instant::now(),
        }
    }

    fn step(&mut self, title: &str) {
        self.step = Instant::now();
        say(&format!("==> {title}"));
    }

    fn done(&self, what: &str) {
        say(&format!("   {what} ({:.1?})", self.step.elapsed()));
    }
}
