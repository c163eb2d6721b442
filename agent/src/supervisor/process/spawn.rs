//! Programs as monit starts them: own session, clean environment, `/` as directory, other user and group if asked for.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgid, setgroups, setsid, setuid};

use super::limits;
use super::pidfd::Watch;
use super::reap::{Guard, protect};
use crate::supervisor::monitrc::{Account, Program};

/// monit's.
const PATH: &str = "/bin:/usr/bin:/sbin:/usr/sbin";

/// A program that was started.
#[derive(Debug)]
pub(in crate::supervisor) struct Running {
    /// Its pid, process group and session.
    pub(in crate::supervisor) pid: i32,
    child: Child,
    watch: Watch,
    _guard: Guard,
}

impl Running {
    /// Returns when it has ended: well or not, and how in words.
    pub(in crate::supervisor) async fn ended(mut self) -> (bool, String) {
        self.watch.ended().await;
        match self.child.wait() {
            Ok(status) => match status.signal() {
                Some(signal) => (false, format!("was killed by signal {signal}")),
                None => (
                    status.success(),
                    format!("exited with status {}", status.code().unwrap_or(-1)),
                ),
            },
            Err(error) => (false, format!("was lost: {error}")),
        }
    }
}

struct Identity {
    uid: Option<Uid>,
    gid: Option<Gid>,
    groups: Vec<Gid>,
}

fn identity(program: &Program) -> io::Result<Identity> {
    let none = |kind: &str, name: &str| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no {kind} '{name}'"),
        )
    };
    let user = match &program.uid {
        None => None,
        Some(Account::Id(id)) => {
            let uid = Uid::from_raw(*id);
            Some((uid, User::from_uid(uid)?))
        }
        Some(Account::Name(name)) => {
            let user = User::from_name(name)?.ok_or_else(|| none("user", name))?;
            Some((user.uid, Some(user)))
        }
    };
    let gid = match &program.gid {
        None => user
            .as_ref()
            .and_then(|(_, user)| user.as_ref())
            .map(|user| user.gid),
        Some(Account::Id(id)) => Some(Gid::from_raw(*id)),
        Some(Account::Name(name)) => Some(
            Group::from_name(name)?
                .ok_or_else(|| none("group", name))?
                .gid,
        ),
    };
    let groups = match (&user, gid) {
        (Some((_, Some(user))), Some(gid)) => {
            getgrouplist(&CString::new(user.name.as_str())?, gid)?
        }
        (_, Some(gid)) => vec![gid],
        _ => Vec::new(),
    };
    Ok(Identity {
        uid: user.map(|(uid, _)| uid),
        gid,
        groups,
    })
}

/// Starts a program, which enters the cgroup behind `door`. `environment` comes on top of monit's `PATH` and the agent's `TZ`.
pub(in crate::supervisor) fn spawn(
    program: &Program,
    environment: &[(&str, String)],
    door: Option<File>,
) -> io::Result<Running> {
    let Some((path, arguments)) = program.argv.split_first() else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no program",
        ));
    };
    let Identity { uid, gid, groups } = identity(program)?;
    // As monit: what is not absolute is looked for below `/`, not in `PATH`.
    let mut command = Command::new(Path::new("/").join(path));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(zone) = std::env::var_os("TZ") {
        command.env("TZ", zone);
    }
    let descriptors = limits::found();
    let prepare = move || {
        if let Some(door) = &door {
            // Without its cgroup it still runs.
            let _ = (&*door).write(b"0");
        }
        setsid()?;
        umask(Mode::from_bits_truncate(0o022));
        // SAFETY: takes integers only. Descriptors that libraries left inheritable stay behind; where the kernel is too old for
        // this call there is nothing else to be done about them.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3_u32,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        };
        if let Some((soft, hard)) = descriptors {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        if let Some(gid) = gid {
            setgroups(&groups)?;
            setgid(gid)?;
        }
        if let Some(uid) = uid {
            setuid(uid)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor takes locks (`groups` was
    // allocated before).
    unsafe { command.pre_exec(prepare) };
    let child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot execute {path}: {error}")))?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let guard = protect(pid);
    // The child is not waited for yet, so that the number is still its.
    let watch = Watch::child(pid)?;
    Ok(Running {
        pid,
        child,
        watch,
        _guard: guard,
    })
}

/// Every pid of a set but our own and PID 1 gets SIGKILL.
pub(super) fn kill_all(pids: &HashSet<i32>) {
    signal_all(pids.iter(), Signal::SIGKILL);
}

/// Every pid but our own and PID 1 gets a signal.
pub(in crate::supervisor) fn signal_all<'a>(pids: impl Iterator<Item = &'a i32>, signal: Signal) {
    let own = std::process::id();
    for pid in pids {
        if *pid <= 1 || u32::try_from(*pid) == Ok(own) {
            continue;
        }
        let target = nix::unistd::Pid::from_raw(*pid);
        match nix::sys::signal::kill(target, signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => tracing::warn!(pid, %error, "cannot kill a process"),
        }
    }
}
