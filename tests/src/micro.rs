//! `bosh-director micro`, started, and taken down whatever happens.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{director::Director, paths, wait};

/// A running micro director with its state under one directory.
pub struct Micro {
    /// Its state.
    pub dir: PathBuf,
    /// The `BOSH_*` variables it printed for the `bosh` CLI.
    pub env: BTreeMap<String, String>,
    /// A client of its API.
    pub director: Director,
    child: Child,
    down: bool,
}

impl Micro {
    /// Starts it with its state under `dir`; `overlay` is YAML laid over the health monitor's configuration. Waits until
    /// it says that it is ready.
    pub async fn start(dir: &Path, overlay: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let (log, out, over) = (
            dir.join("micro.log"),
            dir.join("micro.env"),
            dir.join("monitor-overlay.yml"),
        );
        fs::write(&over, overlay)?;
        let program = paths::bin("bosh-director")?;
        let mut command = Command::new(&program);
        command
            .args(["micro", "--dir"])
            .arg(dir)
            .arg("--monitor-overlay")
            .arg(&over)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out)?)
            .stderr(fs::File::create(&log)?)
            // Ctrl-C in a terminal is for the demo, which takes this down in order.
            .process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("running {}", program.display()))?;

        let started = wait::until(
            "bosh-director micro to be ready",
            Duration::from_secs(60),
            || {
                let ended = child.try_wait();
                let out = out.clone();
                async move {
                    if let Some(status) = ended? {
                        return Ok(Some(Err(status)));
                    }
                    let env = environment(&out)?;
                    let Some(director) = Director::from_env(&env)? else {
                        return Ok(None);
                    };
                    director.info().await?;
                    Ok(Some(Ok((env, director))))
                }
            },
        )
        .await;
        let log_tail = || tail(&log);
        match started {
            Ok(Ok((env, director))) => Ok(Self {
                dir: dir.to_owned(),
                env,
                director,
                child,
                down: false,
            }),
            Ok(Err(status)) => bail!("bosh-director micro ended with {status}:\n{}", log_tail()),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let _ = run_down(dir);
                Err(error.context(log_tail()))
            }
        }
    }

    /// Ends the director, its VMs, disks and network, and removes its directory.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.take_down()
    }

    /// Kills the director as a crash would, leaving the VMs; the directory can be started on again.
    pub fn crash(mut self) -> anyhow::Result<PathBuf> {
        self.child.kill()?;
        self.child.wait()?;
        self.down = true;
        Ok(self.dir.clone())
    }

    fn take_down(&mut self) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.down, true) {
            return Ok(());
        }
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)
            .context("stopping bosh-director micro")?;
        self.child.wait()?;
        run_down(&self.dir)
    }
}

impl Drop for Micro {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the end of {}/micro.log:\n{}",
                self.dir.display(),
                tail(&self.dir.join("micro.log"))
            );
        }
        if let Err(error) = self.take_down() {
            eprintln!("taking down {}: {error:#}", self.dir.display());
        }
    }
}

/// Whether `dir` has ever been a micro director's: its first act is to write down what it is.
pub fn is_one(dir: &Path) -> bool {
    dir.join("micro.json").exists()
}

/// Removes what a micro director that no longer runs has left under `dir` and on this machine.
pub fn run_down(dir: &Path) -> anyhow::Result<()> {
    let output = Command::new(paths::bin("bosh-director")?)
        .args(["micro-down", "--dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .context("running bosh-director micro-down")?;
    ensure!(
        output.status.success(),
        "bosh-director micro-down: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

/// The `BOSH_*` variables that sourcing `file` sets.
pub fn environment(file: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let output = Command::new("sh")
        .args(["-c", ". \"$1\"; exec env -0", "sh"])
        .arg(file)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .context("running sh")?;
    let text = String::from_utf8(output.stdout)?;
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Ok(pairs
        .filter(|(key, _)| key.starts_with("BOSH_"))
        .map(|(key, value)| (key.into(), value.into()))
        .collect())
}

/// The last lines of a log.
pub fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|error| error.to_string());
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
