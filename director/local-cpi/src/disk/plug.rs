//! Showing a disk to a running VM and taking it away again.
//!
//! Upstream's docker CPI restarts the container for this; here the mount is carried into the VM's mount namespace.

use std::fs;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::path;
use crate::Error;
use crate::container::{Detached, enter, mount_image, mount_table};
use crate::error::Context;
use crate::ids::DiskCid;
use crate::settings::disk_path;
use crate::store::{Attached, DiskKind, Store};

/// Mounts the disk in the VM whose process 1 is `pid`, at [`disk_path`]. The caller has a mount namespace of its own.
pub(crate) fn plug(store: &Store, cid: &DiskCid, pid: i32) -> Result<Attached, Error> {
    let target = disk_path(cid);
    if let Some(attached) = at(&target, pid)? {
        return Ok(attached);
    }
    let record = store.read(cid)?;
    let dir = store.dir(cid);
    let behind = path(&dir, record.kind);
    let mount = match record.kind {
        DiskKind::Directory => Detached::copy(&behind)?,
        DiskKind::Image => {
            let point = dir.join("mount");
            fs::create_dir_all(&point)
                .context(|| format!("could not make '{}'", point.display()))?;
            mount_image(&behind, &point)?;
            let mount = Detached::copy(&point)?;
            // Else the device stays in use until this process ends, which is after the VM may have been told to go.
            umount2(&point, MntFlags::empty())
                .context(|| format!("could not unmount '{}'", point.display()))?;
            mount
        }
    };
    enter(pid, || {
        fs::create_dir_all(&target).context(|| format!("could not make '{target}' in the VM"))?;
        mount
            .attach(&target)
            .context(|| format!("could not mount disk '{cid}' at '{target}' in the VM"))
    })?;
    at(&target, pid)?.ok_or_else(|| Error::DiskBusy {
        disk: cid.clone(),
        what: format!("its mount at '{target}' in the VM went at once"),
    })
}

/// What is mounted at `target` in the VM.
fn at(target: &str, pid: i32) -> Result<Option<Attached>, Error> {
    let table = mount_table(pid)?;
    Ok(table
        .into_iter()
        .rev()
        .find(|mounted| mounted.point == target)
        .map(|mounted| Attached {
            device: mounted.device,
            root: mounted.root,
        }))
}

/// Unmounts all mounts of the disk in the VM whose process 1 is `pid`, wherever the agent put them.
pub(crate) fn unplug(cid: &DiskCid, attached: &Attached, pid: i32) -> Result<(), Error> {
    let inside = format!("{}/", attached.root.trim_end_matches('/'));
    let points: Vec<String> = mount_table(pid)?
        .into_iter()
        .rev()
        .filter(|mounted| {
            mounted.device == attached.device
                && (mounted.root == attached.root || mounted.root.starts_with(&inside))
        })
        .map(|mounted| mounted.point)
        .collect();
    let target = disk_path(cid);
    enter(pid, || {
        for point in &points {
            match umount2(point.as_str(), MntFlags::UMOUNT_NOFOLLOW) {
                // The agent was faster.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(Errno::EBUSY) => {
                    return Err(Error::DiskBusy {
                        disk: cid.clone(),
                        what: format!("processes in the VM use '{point}'"),
                    });
                }
                Err(errno) => {
                    return Err(errno).context(|| format!("could not unmount '{point}' in the VM"));
                }
            }
        }
        // An empty mount point is of no use any more, and if it is not empty it stays.
        let _ = fs::remove_dir(&target);
        Ok(())
    })
}
