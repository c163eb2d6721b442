//! Starts a micro director and runs it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio_util::sync::CancellationToken;

use super::files::Files;
use super::{Options, State, machine};
use crate::db;
use crate::serve::{self, Role, Running};

/// Runs a micro director until `stop`. Once it answers, the environment for the `bosh` CLI goes to `out` as shell
/// commands, followed by a comment that says that it is ready.
pub async fn run(
    mut options: Options,
    mut out: impl Write,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let programs = machine::check()?;
    std::fs::create_dir_all(&options.dir)
        .with_context(|| format!("make directory {}", options.dir.display()))?;
    options.dir = options
        .dir
        .canonicalize()
        .with_context(|| format!("find directory {}", options.dir.display()))?;
    let _lock = lock(&options.dir)?;
    let state = State::load_or_decide(&options)?;
    let files = Files::new(options.dir.clone());
    files.write(&options, &state, &programs)?;

    let config = serve::load(&files.director_yml())?;
    let running = Running::start(config, Role::Director).await?;
    let prepared = first_cloud_config(&running, &options.dir).await;
    let environment = environment(&options, &state, &files);
    let announced = prepared.and_then(|()| {
        write!(out, "{environment}")
            .and_then(|()| out.flush())
            .context("print the environment")
    });
    if announced.is_err() {
        // Ends what was started.
        stop.cancel();
    }
    running.until(stop).await?;
    announced
}

/// Keeps a second director off the directory, for as long as it is held.
pub(super) fn lock(dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
            "another director runs on {}: end it first, or choose another --dir",
            dir.display()
        ),
        Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

async fn first_cloud_config(running: &Running, dir: &Path) -> anyhow::Result<()> {
    let db = &running.director.db;
    if !db::configs::latest_set(db, "cloud").await?.is_empty() {
        return Ok(());
    }
    let path = dir.join("config/cloud-config.yml");
    let content =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    db::configs::create(db, "cloud", "default", &content).await?;
    Ok(())
}

fn environment(options: &Options, state: &State, files: &Files) -> String {
    let quote = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let url = format!("https://{}:{}", options.local(), options.director_port);
    format!(
        "export BOSH_ENVIRONMENT={}\n\
         export BOSH_CLIENT=admin\n\
         export BOSH_CLIENT_SECRET={}\n\
         export BOSH_CA_CERT={}\n\
         # ready: {} answers at {url}\n",
        quote(&url),
        quote(&state.admin_password),
        quote(&files.ca().display().to_string()),
        state.director_name,
    )
}
