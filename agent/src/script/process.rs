//! A script as a process group: started, waited for, ended with everything it has started.
//! Source: bosh-utils system/exec_process.go.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;
use tokio::task::JoinHandle;

use super::Error;
use crate::rpc::tasks::Cancel;
use crate::supervisor;

/// Scripts find programs here. Source: upstream agent/script/pathenv/path_linux.go.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a script that is to end may take, before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long a killed process group may take to disappear.
const DISAPPEAR: Duration = Duration::from_secs(10);
/// How long output is waited for after the script has ended.
const LINGER: Duration = Duration::from_secs(5);
/// How much of a script's output is kept; more is read and dropped. A reply cannot carry as much anyway.
const MAX_OUTPUT: usize = 4 * 1024 * 1024;

/// Where output goes.
pub(super) enum Output {
    /// To these files.
    Files { stdout: File, stderr: File },
    /// Into memory.
    Kept,
}

/// What a script left behind.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Whether it was asked to end; it may have ended well all the same.
    pub(super) cancelled: bool,
}

/// How to run a script.
pub(super) struct Script<'a> {
    pub(super) path: &'a Path,
    pub(super) args: Vec<String>,
    /// Temporary files: `TMPDIR`. Upstream's agent has it in its own environment (platform/linux_platform.go, SetupTmpDir).
    pub(super) tmp: PathBuf,
    /// Beside the agent's own environment.
    pub(super) env: BTreeMap<String, String>,
    /// Five nicer than the agent.
    pub(super) low_priority: bool,
    pub(super) output: Output,
}

impl Script<'_> {
    /// Runs it to its end.
    pub(super) async fn run(self, cancel: Option<&mut Cancel>) -> Result<Finished, Error> {
        let fail = |source| Error::Start {
            path: self.path.display().to_string(),
            source,
        };
        tracing::debug!(script = %self.path.display(), args = ?self.args, "run");
        let mut command = tokio::process::Command::new(self.path);
        command
            .args(&self.args)
            .env("PATH", PATH)
            .env("TMPDIR", &self.tmp)
            .envs(&self.env)
            .stdin(Stdio::null());
        // SAFETY: setsid is async-signal-safe and touches no memory.
        unsafe {
            // A session of its own, so that what it leaves behind is told apart from the agent's children.
            command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
        }
        match self.output {
            Output::Files { stdout, stderr } => command.stdout(stdout).stderr(stderr),
            Output::Kept => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn().map_err(fail)?;
        // The command holds the log files open.
        drop(command);
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let _guard = pid.map(supervisor::protect);
        if self.low_priority {
            lower_priority(&child);
        }
        let group = pid.map(Pid::from_raw);
        let stdout = Keeper::start(child.stdout.take());
        let stderr = Keeper::start(child.stderr.take());

        let (status, cancelled) = match cancel {
            None => (child.wait().await.map_err(fail)?, false),
            Some(cancel) => tokio::select! {
                status = child.wait() => (status.map_err(fail)?, false),
                () = cancel.requested() => (terminate(&mut child, group).await.map_err(fail)?, true),
            },
        };
        Ok(Finished {
            status,
            stdout: stdout.finish().await,
            stderr: stderr.finish().await,
            cancelled,
        })
    }
}

/// Reads one stream of a script.
struct Keeper {
    kept: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(pipe: Option<impl AsyncRead + Send + Unpin + 'static>) -> Self {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let sink = kept.clone();
        let task = tokio::spawn(async move {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = vec![0; 8 * 1024];
            loop {
                match pipe.read(&mut buffer).await {
                    Ok(0) => return,
                    Ok(n) => {
                        let mut kept = sink.lock().unwrap_or_else(PoisonError::into_inner);
                        let room = MAX_OUTPUT - kept.len();
                        kept.extend_from_slice(&buffer[..n.min(room)]);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "reading a script's output");
                        return;
                    }
                }
            }
        });
        Self { kept, task }
    }

    /// What was printed; called when the script has ended. A process it left behind may keep the stream open for ever.
    async fn finish(mut self) -> String {
        if tokio::time::timeout(LINGER, &mut self.task).await.is_err() {
            self.task.abort();
        }
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// SIGTERM to the group, SIGKILL after the grace period; returns how the script itself ended.
async fn terminate(child: &mut Child, group: Option<Pid>) -> std::io::Result<ExitStatus> {
    signal(group, Signal::SIGTERM);
    let deadline = tokio::time::Instant::now() + GRACE;
    let mut status = None;
    // The script may be gone before what it has started: wait for both.
    while tokio::time::Instant::now() < deadline {
        if status.is_none() {
            match tokio::time::timeout(Duration::from_millis(50), child.wait()).await {
                Ok(ended) => status = Some(ended?),
                Err(_) => continue,
            }
        } else if !exists(group) {
            break;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    if exists(group) {
        signal(group, Signal::SIGKILL);
    }
    match status {
        Some(status) => Ok(status),
        None => tokio::time::timeout(DISAPPEAR, child.wait()).await?,
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    let Some(group) = group else { return };
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(%group, %signal, %error, "cannot signal a script"),
    }
}

/// Whether anything of the group still runs. A zombie does not, and whoever buries it may take its time.
fn exists(group: Option<Pid>) -> bool {
    let Some(group) = group else { return false };
    if killpg(group, None) == Err(Errno::ESRCH) {
        return false;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    processes.filter_map(Result::ok).any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // `pid (name) state parent group ...`, and the name may be anything.
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        let state = fields.next();
        let member = fields.nth(1).and_then(|field| field.parse().ok()) == Some(group.as_raw());
        member && !matches!(state, Some("Z" | "X"))
    })
}

fn lower_priority(child: &Child) {
    let Some(pid) = child.id() else { return };
    // SAFETY: getpriority and setpriority take and return plain numbers.
    let failed = unsafe {
        let own = nix::libc::getpriority(nix::libc::PRIO_PROCESS, 0);
        nix::libc::setpriority(nix::libc::PRIO_PROCESS, pid, (own + 5).min(19)) != 0
    };
    if failed {
        tracing::debug!(pid, error = %std::io::Error::last_os_error(), "cannot lower a script's priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::tests_support::script;

    fn kept<'a>(path: &'a Path) -> Script<'a> {
        Script {
            path,
            args: Vec::new(),
            tmp: "/tmp/of/script".into(),
            env: BTreeMap::new(),
            low_priority: false,
            output: Output::Kept,
        }
    }

    #[tokio::test]
    async fn keeps_output_and_status() {
        let dir = tempfile::tempdir().unwrap();
        let path = script(
            &dir.path().join("s"),
            "echo out $1 $X $PATH $TMPDIR; echo err >&2; exit 3",
        );
        let finished = Script {
            args: vec!["a".into()],
            env: [("X".into(), "x".into())].into(),
            ..kept(&path)
        };
        let finished = finished.run(None).await.unwrap();
        assert_eq!(finished.stdout, format!("out a x {PATH} /tmp/of/script\n"));
        assert_eq!(finished.stderr, "err\n");
        assert_eq!(finished.status.code(), Some(3));
    }

    #[tokio::test]
    async fn cancelling_ends_descendants() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("pid");
        let path = script(
            &dir.path().join("s"),
            &format!("sleep 1000 & echo $! > {}; wait", marker.display()),
        );
        let (cancel, mut cancelled) = Cancel::pair();
        let running = tokio::spawn(async move { kept(&path).run(Some(&mut cancelled)).await });
        let pid = crate::script::tests_support::content_of(&marker).await;
        cancel.send_replace(true);
        let finished = running.await.unwrap().unwrap();
        assert!(finished.cancelled);
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        crate::script::tests_support::until(gone).await;
    }

    #[tokio::test]
    async fn a_script_that_cannot_run_is_named() {
        let error = kept(Path::new("/nowhere/bin/run"))
            .run(None)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "Starting command '/nowhere/bin/run'");
    }
}
