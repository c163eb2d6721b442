//! One Ruby process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::error::Error;

/// What the process runs.
const SCRIPT: &str = include_str!("worker.rb");

/// Who the process runs as when the director is root: nobody.
const NOBODY: u32 = 65534;

/// A running worker. Dropping it kills it and all it started.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts Ruby with an empty environment, away from the director's files and, if the director may decide that,
    /// from the network.
    pub(super) fn start(ruby: &Path) -> Result<Self, Error> {
        let mut command = Command::new(ruby);
        command
            .args([
                "--disable=did_you_mean",
                "--encoding=UTF-8:UTF-8",
                "-W0",
                "-e",
                SCRIPT,
            ])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8")
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let is_root = nix::unistd::geteuid().is_root();
        // SAFETY: between fork and exec only system calls are made; nothing is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || confine(is_root));
        }
        let started = |source| Error::Start {
            program: ruby.display().to_string(),
            source,
        };
        let mut child = command.spawn().map_err(started)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Worker("it has no standard input and output".into()));
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Sends a request and waits for the reply.
    pub(super) async fn call(&mut self, request: &[u8], limit: Duration) -> Result<String, Error> {
        let exchange = async {
            self.input.write_all(request).await?;
            self.input.write_all(b"\n").await?;
            self.input.flush().await?;
            let mut line = String::new();
            self.output.read_line(&mut line).await?;
            std::io::Result::Ok(line)
        };
        match timeout(limit, exchange).await {
            Err(_) => Err(Error::Timeout(limit)),
            Ok(Err(error)) => Err(Error::Worker(error.to_string())),
            Ok(Ok(line)) if line.is_empty() => Err(Error::Worker("it ended".into())),
            Ok(Ok(line)) => Ok(line),
        }
    }
}

/// Makes the process die with the director, and takes away network and privileges where it can.
fn confine(is_root: bool) -> std::io::Result<()> {
    if is_root {
        // Where namespaces are not to be had (in some containers), privileges still go.
        let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(NOBODY.into())?;
        nix::unistd::setuid(NOBODY.into())?;
    }
    // After the change of user, which clears it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    Ok(())
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // The process leads a group of its own; a child of it at work goes as well.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
