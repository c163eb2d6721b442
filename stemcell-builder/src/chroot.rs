//! Running programs inside the tree, with the kernel's file systems mounted there meanwhile.
//!
//! All mounts are made in a mount namespace of this process, so that even one that is killed leaves none behind; within it
//! they are undone in the reverse order when their guard is dropped.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::command::{self, Command};

/// A mount that was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only root can.
    #[error("could not make a mount namespace: baking needs root")]
    Namespace(#[source] io::Error),
    /// A mount failed.
    #[error("could not mount {what} at '{}'", target.display())]
    Mount {
        /// What.
        what: &'static str,
        /// Where.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A device node was not made.
    #[error("could not make the device '{}'", path.display())]
    Device {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Gives this thread, and what it starts, a mount namespace of its own.
pub(crate) fn private_mounts() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Error::Namespace(errno.into()))?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|errno| Error::Namespace(errno.into()))
}

/// Something mounted until dropped.
pub(crate) struct Mounted {
    target: PathBuf,
}

impl Mounted {
    fn new(
        what: &'static str,
        target: PathBuf,
        flags: MsFlags,
        options: &str,
    ) -> Result<Self, Error> {
        mount(Some(what), &target, Some(what), flags, Some(options)).map_err(|errno| {
            Error::Mount {
                what,
                target: target.clone(),
                source: errno.into(),
            }
        })?;
        Ok(Self { target })
    }

    /// Changes to `target` go to `upper`; `lower` stays as it is.
    pub(crate) fn overlay(
        lower: &Path,
        upper: &Path,
        work: &Path,
        target: &Path,
    ) -> Result<Self, Error> {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        Self::new("overlay", target.to_owned(), MsFlags::empty(), &options)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: something that still runs inside must not keep it; the namespace goes with this process in any case.
        if let Err(errno) = umount2(&self.target, MntFlags::MNT_DETACH) {
            tracing::error!(target = %self.target.display(), error = %errno, "could not unmount");
        }
    }
}

/// Type, major and minor number are those of Linux's documentation, admin-guide/devices.txt.
const DEVICES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// A tree that programs can run in.
pub(crate) struct Chroot {
    root: PathBuf,
    epoch: u64,
    /// Dropped in this order.
    _mounts: [Mounted; 3],
}

impl Chroot {
    /// Mounts what programs need. `epoch` is the time, in seconds since 1970, that they stamp into files.
    pub(crate) fn new(root: &Path, epoch: u64) -> Result<Self, Error> {
        let safe = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let proc = Mounted::new("proc", root.join("proc"), safe | MsFlags::MS_NODEV, "")?;
        let sys = Mounted::new(
            "sysfs",
            root.join("sys"),
            safe | MsFlags::MS_NODEV | MsFlags::MS_RDONLY,
            "",
        )?;
        let dev = Mounted::new("tmpfs", root.join("dev"), safe, "mode=755,size=1m")?;
        for (name, major, minor) in DEVICES {
            let path = root.join("dev").join(name);
            let made = mknod(
                &path,
                SFlag::S_IFCHR,
                Mode::from_bits_truncate(0o666),
                makedev(major, minor),
            )
            .map_err(io::Error::from)
            // Whatever the umask says.
            .and_then(|()| {
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            });
            made.map_err(|source| Error::Device { path, source })?;
        }
        Ok(Self {
            root: root.to_owned(),
            epoch,
            _mounts: [dev, sys, proc],
        })
    }

    /// Runs a shell line as root, with nothing of this machine's environment, and returns its output.
    pub(crate) fn run(&self, line: &str) -> Result<String, command::Error> {
        Command::new("chroot")
            .arg(&self.root)
            .args([
                "/usr/bin/env",
                "-i",
                "HOME=/root",
                "LC_ALL=C",
                "DEBIAN_FRONTEND=noninteractive",
            ])
            .args(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
            .arg(format!("SOURCE_DATE_EPOCH={}", self.epoch))
            .args(["/bin/sh", "-e", "-c", line])
            .run()
    }
}
