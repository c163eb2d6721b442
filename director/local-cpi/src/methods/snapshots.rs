//! `snapshot_disk` and `delete_snapshot`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, channel};

use bosh_cpi::Object;
use nix::errno::Errno;
use nix::libc;

use super::Cpi;
use crate::container::{self, Runc};
use crate::error::Context;
use crate::ids::{DiskCid, SnapshotCid};
use crate::store::{DiskKind, DiskRecord, Kind};
use crate::{Error, disk, settings};

/// FIFREEZE and FITHAW of linux/fs.h.
const FREEZE: libc::Ioctl = 0xC004_5877;
const THAW: libc::Ioctl = 0xC004_5878;

/// Copies the disk. While an image is copied nothing is written to it: its file system is frozen if a VM has it mounted.
pub(super) fn create(cpi: &Cpi, cid: &DiskCid, metadata: Object) -> Result<SnapshotCid, Error> {
    let _lock = cpi.store.lock(cid)?;
    let record = cpi.store.read(cid)?;
    let snapshot = SnapshotCid::generate();
    let draft = cpi.store.draft(&snapshot)?;
    let copy = || disk::copy(&cpi.store.dir(cid), draft.path(), record.kind);
    let running = match &record.vm {
        Some(vm) if record.kind == DiskKind::Image => Runc::new(&cpi.config, &cpi.store).pid(vm)?,
        _ => None,
    };
    match running {
        Some(pid) => frozen(pid, &settings::disk_path(cid), copy)?,
        None => copy()?,
    }
    let record = DiskRecord {
        vm: None,
        metadata,
        ..record
    };
    draft.record(SnapshotCid::FILE, &record)?;
    draft.publish()?;
    Ok(snapshot)
}

/// Nothing to do if it is not there.
pub(super) fn delete(cpi: &Cpi, cid: &SnapshotCid) -> Result<(), Error> {
    cpi.store.remove(cid)
}

/// Runs `work` while the file system mounted at `path` in the VM takes no writes.
fn frozen(pid: i32, path: &str, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let (done, until): (_, Receiver<()>) = channel();
    let (ready, is_ready) = channel();
    std::thread::scope(|scope| {
        let freezer = scope.spawn(move || {
            container::enter(pid, move || {
                let file =
                    File::open(path).context(|| format!("could not open '{path}' in the VM"))?;
                control(&file, FREEZE)
                    .context(|| format!("could not freeze '{path}' in the VM"))?;
                // Nobody sends: both ends hang up.
                let _ = ready.send(());
                let _ = until.recv();
                control(&file, THAW).context(|| format!("could not thaw '{path}' in the VM"))
            })
        });
        let result = match is_ready.recv() {
            Ok(()) => work(),
            Err(_) => Ok(()),
        };
        drop(done);
        let thawed = freezer.join().unwrap_or_else(|_| {
            Err(Errno::EIO).context(|| "the freezing thread panicked".to_owned())
        });
        result.and(thawed)
    })
}

fn control(file: &File, request: libc::Ioctl) -> nix::Result<()> {
    // SAFETY: both requests take an argument that the kernel ignores.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, 0) };
    Errno::result(result).map(drop)
}
