//! pidfds: readable when the process ended, even as a zombie, and never about another process with the same number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn has_ended(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
}

/// Whether there is such a process and it has not ended.
pub(in crate::supervisor) fn is_alive(pid: i32) -> bool {
    pid > 0 && open(pid).is_ok_and(|fd| !has_ended(&fd))
}

fn register(fd: OwnedFd) -> io::Result<Watch> {
    // SAFETY: `OwnedFd` always returns the same descriptor and does not close it while it lives.
    let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(Watch { fd: fd? })
}

/// Watches one process.
#[derive(Debug)]
pub(in crate::supervisor) struct Watch {
    fd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// `None` if there is no such process or it has ended.
    pub(in crate::supervisor) fn open(pid: i32) -> io::Result<Option<Self>> {
        if pid <= 0 {
            return Ok(None);
        }
        let fd = match open(pid) {
            Ok(fd) => fd,
            // EINVAL: the number is that of a thread.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if has_ended(&fd) {
            return Ok(None);
        }
        register(fd).map(Some)
    }

    /// Watches a child of ours, which may have ended already.
    pub(super) fn child(pid: i32) -> io::Result<Self> {
        register(open(pid)?)
    }

    /// Returns when the process has ended.
    pub(in crate::supervisor) async fn ended(&self) {
        // An error can only mean that the runtime is shutting down; then nobody is interested any more.
        if self.fd.readable().await.is_err() {
            tracing::debug!(
                fd = self.fd.as_raw_fd(),
                "the runtime ended while a process was watched"
            );
            std::future::pending::<()>().await;
        }
    }
}
