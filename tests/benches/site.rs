//! A director to measure: `bosh-director micro` with ports of its own, the CPI of almost no cost, simulated agents.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bosh_tests::bus::free_port;
use bosh_tests::director::{Director, Task};
use bosh_tests::micro::{environment, tail};
use bosh_tests::process::{Guard, cpu, descendants, rss};
use bosh_tests::{paths, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Method, header};

use crate::cpi;

/// All of it is within the loopback network, where every address is this machine's.
const SUBNET: &str = "127.44.0.0/24";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 44, 0, 1);
const STOP: Duration = Duration::from_secs(30);

/// A director and its agents, which end with this.
pub(crate) struct Site {
    pub(crate) director: Director,
    dir: PathBuf,
    programs: PathBuf,
    ports: [u16; 4],
    process: Option<Guard>,
    _agents: Guard,
}

impl Site {
    /// Starts one with its files under `dir`.
    pub(crate) async fn start(dir: &Path) -> anyhow::Result<Self> {
        let programs = dir.join("bin");
        fs::create_dir_all(&programs)?;
        for name in ["bosh-director", "bosh-monitor"] {
            fs::copy(paths::bin(name)?, programs.join(name))?;
        }
        fs::copy(std::env::current_exe()?, programs.join(cpi::NAME))?;
        let dir = dir.join("micro");
        let settings = dir.join("vms").join(cpi::AGENTS);
        fs::create_dir_all(&settings)?;
        let mut command = Command::new(paths::bin("bosh-agent-fake")?);
        command
            .arg("--settings-dir")
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let agents = Guard::spawn(&mut command)?;
        let ports = [port()?, port()?, port()?, free_port()?];
        let process = spawn(&programs, &dir, ports)?;
        let env = dir.join("env");
        let director = wait::until("the director's environment", STOP, || async {
            let Some(director) = Director::from_env(&environment(&env)?)? else {
                return Ok(None);
            };
            director.info().await?;
            Ok(Some(director))
        })
        .await
        .with_context(|| tail(&dir.join("log.txt")))?;
        Ok(Self {
            director,
            dir,
            programs,
            ports,
            process: Some(process),
            _agents: agents,
        })
    }

    /// Ends the director as an operator would, and starts it again: how long until it answers.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<Duration> {
        self.stop()?;
        let begun = Instant::now();
        self.process = Some(spawn(&self.programs, &self.dir, self.ports)?);
        while self.director.info().await.is_err() {
            ensure!(
                begun.elapsed() < STOP,
                "the director does not come back:\n{}",
                tail(&self.dir.join("log.txt"))
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(begun.elapsed())
    }

    /// The director's process.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self
            .process
            .as_ref()
            .context("the director has ended")?
            .pid())
    }

    /// CPU time of the director, and of the Ruby processes it has now.
    pub(crate) fn cpu(&self) -> anyhow::Result<(Duration, Duration)> {
        let mut rubies = Duration::ZERO;
        for (pid, name) in descendants(self.pid()?)? {
            if name == "ruby" {
                rubies += cpu(pid)?;
            }
        }
        Ok((cpu(self.pid()?)?, rubies))
    }

    /// Resident memory of the director and all it runs but nats-server: (name, bytes).
    pub(crate) fn memory(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let mut found = vec![("director".to_owned(), rss(self.pid()?)?)];
        for (pid, name) in descendants(self.pid()?)? {
            if name != "nats-server" {
                found.push((name, rss(pid)?));
            }
        }
        Ok(found)
    }

    /// Sends what makes a task; the task must end well. How long that took, to 5 ms.
    pub(crate) async fn task(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let response = self
            .director
            .send(method.clone(), path, content_type, body)
            .await?;
        let location = response.headers().get(header::LOCATION);
        let id = location
            .and_then(|value| value.to_str().ok()?.rsplit('/').next()?.parse::<u64>().ok())
            .with_context(|| format!("{method} {path}: {} and no task", response.status()))?;
        loop {
            let task = self.director.get(&format!("/tasks/{id}")).await?;
            let text = |key: &str| task[key].as_str().unwrap_or_default().to_owned();
            let (state, result) = (text("state"), text("result"));
            if !matches!(state.as_str(), "queued" | "processing" | "cancelling") {
                let took = begun.elapsed();
                Task { id, state, result }.done()?;
                return Ok(took);
            }
            ensure!(
                begun.elapsed() < Duration::from_secs(300),
                "task {id} does not end"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        kill(Pid::from_raw(process.pid() as i32), Signal::SIGTERM)?;
        let begun = Instant::now();
        while process.0.try_wait()?.is_none() {
            ensure!(begun.elapsed() < STOP, "the director does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("ending the director: {error:#}");
        }
        // What a director that did not end well has left.
        let mut down = Command::new(self.programs.join("bosh-director"));
        let down = down.args(["micro-down", "--dir"]).arg(&self.dir).output();
        match down {
            Ok(output) if output.status.success() => {}
            other => eprintln!("bosh-director micro-down: {other:?}"),
        }
    }
}

fn spawn(programs: &Path, dir: &Path, ports: [u16; 4]) -> anyhow::Result<Guard> {
    let mut command = Command::new(programs.join("bosh-director"));
    command.args(["micro", "--dir"]).arg(dir);
    command.args(["--listen", &ADDRESS.to_string(), "--subnet", SUBNET]);
    let flags = [
        "--director-port",
        "--nats-port",
        "--blobstore-port",
        "--monitor-port",
    ];
    for (flag, port) in flags.into_iter().zip(ports) {
        command.arg(flag).arg(port.to_string());
    }
    command
        .stdin(Stdio::null())
        .stdout(fs::File::create(dir.join("env"))?)
        .stderr(
            fs::File::options()
                .create(true)
                .append(true)
                .open(dir.join("log.txt"))?,
        );
    Guard::spawn(&mut command)
}

/// A TCP port of the director's address that nobody listens on now.
fn port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((ADDRESS, 0))?.local_addr()?.port())
}
