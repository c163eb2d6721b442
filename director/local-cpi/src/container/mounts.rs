//! Mounts that only this process and the containers it starts can see.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::Error;
use crate::disk::LoopDevice;
use crate::error::Context;

/// Gives the calling thread, and what it starts, a mount namespace of its own, with control groups in it.
pub(crate) fn private() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNS)
        .context(|| "could not make a mount namespace (are we root?)".to_owned())?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )
    .context(|| "could not make mounts private".to_owned())?;
    super::cgroups::ensure_visible()
}

/// Mounts the VM's root: the stemcell below, the VM's own changes above.
pub(super) fn overlay(lower: &Path, upper: &Path, work: &Path, target: &Path) -> Result<(), Error> {
    let option = |key: &str, path: &Path| format!("{key}={}", escape(path));
    let options = format!(
        "{},{},{}",
        option("lowerdir", lower),
        option("upperdir", upper),
        option("workdir", work)
    );
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context(|| format!("could not mount an overlay at '{}'", target.display()))
}

/// Overlay's options end at a comma, its lower directories at a colon.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for character in path.to_string_lossy().chars() {
        if matches!(character, ',' | ':' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// Mounts an ext4 image.
pub(crate) fn mount_image(image: &Path, target: &Path) -> Result<(), Error> {
    let device = LoopDevice::attach(image)?;
    mount(
        Some(device.path()),
        target,
        Some("ext4"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context(|| {
        format!(
            "could not mount '{}' at '{}'",
            image.display(),
            target.display()
        )
    })
}

/// Lets go of what the calling thread's own mount namespace has at `path`, if anything.
pub(super) fn release(path: &Path) -> Result<(), Error> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).context(|| format!("could not unmount '{}'", path.display())),
    }
}

/// A copy of a mount that is not mounted anywhere yet, and can be carried into another mount namespace.
pub(crate) struct Detached(OwnedFd);

impl Detached {
    /// Copies what is at `path`.
    pub(crate) fn copy(path: &Path) -> Result<Self, Error> {
        let operation = || format!("could not copy the mount at '{}'", path.display());
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Errno::EINVAL)
            .context(operation)?;
        // SAFETY: open_tree takes a descriptor number, a string that outlives the call, and flags; it returns a new
        // descriptor or -1.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                name.as_ptr(),
                libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
            )
        };
        let fd = Errno::result(fd).context(operation)?;
        // SAFETY: the descriptor is fresh and ours; its number fits, as all descriptors do.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Mounts it at a path of the calling thread's mount namespace.
    pub(crate) fn attach(&self, path: &str) -> nix::Result<()> {
        let name = CString::new(path).map_err(|_| Errno::EINVAL)?;
        // SAFETY: move_mount takes two pairs of descriptor and string, both strings outlive the call, and flags.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                name.as_ptr(),
                libc::MOVE_MOUNT_F_EMPTY_PATH,
            )
        };
        Errno::result(result).map(drop)
    }
}
