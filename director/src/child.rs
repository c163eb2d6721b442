//! Programs that run beside the director: found, started, restarted when they die, ended with it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a program has to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// A program that ran this long was healthy: the next restart is immediate again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// How to run a program.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where its output is appended; nowhere when none.
    pub log: Option<PathBuf>,
    /// Where its process id is kept, so that a director that was killed can end what it left behind.
    pub pid_file: PathBuf,
}

/// A program that is kept running.
pub struct Supervised {
    stop: CancellationToken,
    supervisor: JoinHandle<()>,
}

/// The path of a program: as told, else beside this one, else on the PATH or in the folders for administrators.
pub fn find(name: &str, told: Option<&Path>) -> io::Result<PathBuf> {
    let not_found = || io::Error::new(io::ErrorKind::NotFound, format!("no program '{name}'"));
    if let Some(path) = told {
        return path
            .is_file()
            .then(|| path.to_path_buf())
            .ok_or_else(not_found);
    }
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(not_found)
}

/// Ends the process of a pid file, if it still is the one that was started with these arguments.
pub async fn end_left_over(pid_file: &Path, arguments: &[OsString]) {
    let Ok(text) = std::fs::read_to_string(pid_file) else {
        return;
    };
    let Ok(pid) = text.trim().parse::<i32>() else {
        return;
    };
    let is_ours = || {
        use std::os::unix::ffi::OsStrExt;
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).skip(1).collect();
            // An ended process that nobody has waited for yet has an empty line.
            words.len() > arguments.len()
                && arguments
                    .iter()
                    .zip(words)
                    .all(|(argument, word)| argument.as_bytes() == word)
        })
    };
    let deadline = Instant::now() + STOP_TIMEOUT;
    let mut signal = Signal::SIGTERM;
    while is_ours() {
        if Instant::now() >= deadline {
            signal = Signal::SIGKILL;
        }
        let _gone = kill(Pid::from_raw(pid), signal);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Command {
    fn spawn(&self) -> io::Result<tokio::process::Child> {
        let (stdout, stderr) = match &self.log {
            None => (Stdio::null(), Stdio::null()),
            Some(path) => {
                let log: File = OpenOptions::new().create(true).append(true).open(path)?;
                (log.try_clone()?.into(), log.into())
            }
        };
        let child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // A terminal's Ctrl-C is for the director, which ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        if let Some(pid) = child.id() {
            std::fs::write(&self.pid_file, pid.to_string())?;
        }
        Ok(child)
    }
}

impl Supervised {
    /// Starts the program, and starts it again whenever it ends, at once at first and then less and less often.
    pub fn start(name: &'static str, command: Command) -> Self {
        let stop = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(name, command, stop.clone()));
        Self { stop, supervisor }
    }

    /// Ends it: politely first, then not.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "a child's supervisor failed");
        }
    }
}

async fn supervise(name: &'static str, command: Command, stop: CancellationToken) {
    end_left_over(&command.pid_file, &command.arguments).await;
    let mut backoff = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop.cancelled() => return,
        }
        backoff = (backoff * 2).clamp(Duration::from_millis(100), MAX_BACKOFF);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(program = %command.program.display(), %error, "start {name}");
                continue;
            }
        };
        let pid = child.id();
        tracing::info!(pid, "{name} started");
        let started = Instant::now();
        tokio::select! {
            ended = child.wait() => match ended {
                Ok(status) => tracing::error!(%status, "{name} ended; restarting it"),
                Err(error) => tracing::error!(%error, "{name} cannot be waited for; restarting it"),
            },
            () = stop.cancelled() => {
                if let Some(pid) = pid {
                    // An error means that it is gone already.
                    let _gone = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
                }
                let _none = std::fs::remove_file(&command.pid_file);
                if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                    tracing::warn!("{name} did not end; killing it");
                    if let Err(error) = child.kill().await {
                        tracing::error!(%error, "{name} cannot be killed");
                    }
                }
                return;
            }
        }
        if started.elapsed() >= HEALTHY_AFTER {
            backoff = Duration::ZERO;
        }
    }
}
