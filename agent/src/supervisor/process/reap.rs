//! Buries orphans when the agent is PID 1, without taking the exit status of children somebody in the agent waits for.
//!
//! A child that was started with [`protect`] is never touched while its guard lives. Other zombies are told apart by their
//! session: an orphan comes out of a program that the supervisor started, hence out of another session than the agent's, and
//! is buried when it is found a second time. A zombie of the agent's own session is most likely a child that somebody is about
//! to wait for; it is only buried after a minute.
//! Rejected: `waitpid(-1)`, which takes everything, and `waitid(WNOWAIT)`, which shows the same protected zombie for ever.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::table::Table;

static PROTECTED: LazyLock<Mutex<HashSet<i32>>> = LazyLock::new(Mutex::default);

/// How long an orphan stays a zombie at least.
const ORPHAN_GRACE: Duration = Duration::from_millis(500);
/// How long a child of the agent's own session may wait for whoever started it.
const CHILD_GRACE: Duration = Duration::from_secs(60);

/// While it lives, nobody else takes the exit status of the process.
#[derive(Debug)]
pub struct Guard(i32);

/// Keeps the reaper away from a child. To be called right after the child was started.
pub fn protect(pid: i32) -> Guard {
    PROTECTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(pid);
    Guard(pid)
}

impl Drop for Guard {
    fn drop(&mut self) {
        PROTECTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.0);
    }
}

/// Takes the exit status of one process that is known not to be waited for by anybody; does nothing if it is no child.
pub(in crate::supervisor) fn bury(pid: i32) {
    if !PROTECTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(&pid)
    {
        // ECHILD is the usual answer when the agent is not PID 1.
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// Buries orphans for ever; to be spawned by an agent that is PID 1 or a subreaper. Sleeps while there are no zombies.
///
/// # Errors
/// When SIGCHLD cannot be listened to.
pub async fn reap_orphans() -> std::io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    let mut seen: HashMap<i32, Instant> = HashMap::new();
    loop {
        if seen.is_empty() {
            children.recv().await;
        } else {
            drop(tokio::time::timeout(ORPHAN_GRACE, children.recv()).await);
        }
        seen = sweep(&seen, Instant::now());
    }
}

fn sweep(before: &HashMap<i32, Instant>, now: Instant) -> HashMap<i32, Instant> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let session = nix::unistd::getsid(None).map_or(-1, Pid::as_raw);
    let table = Table::read();
    let mut seen = HashMap::new();
    for process in table
        .processes()
        .filter(|process| process.parent == own && process.is_zombie())
    {
        if PROTECTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&process.pid)
        {
            continue;
        }
        let since = before.get(&process.pid).copied().unwrap_or(now);
        let grace = if process.session == session {
            CHILD_GRACE
        } else {
            ORPHAN_GRACE
        };
        if now - since >= grace {
            let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
        } else {
            seen.insert(process.pid, since);
        }
    }
    seen
}
