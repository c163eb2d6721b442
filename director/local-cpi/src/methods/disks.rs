//! `create_disk` and the other methods of disks. Who needs both locks takes the VM's first.

use bosh_cpi::Object;
use serde_json::Value;

use super::Cpi;
use crate::container::{self, Runc};
use crate::ids::{DiskCid, VmCid};
use crate::store::{Attached, DiskRecord, Kind, VmRecord, read_json, write_json};
use crate::{Error, disk, settings};

/// `size` in MiB.
pub(super) fn create(cpi: &Cpi, size: u64) -> Result<DiskCid, Error> {
    check_size(size)?;
    let cid = DiskCid::generate();
    let draft = cpi.store.draft(&cid)?;
    let kind = disk::create(draft.path(), size, cpi.config.disk_backend)?;
    draft.record(DiskCid::FILE, &DiskRecord::new(size, kind))?;
    draft.publish()?;
    Ok(cid)
}

fn check_size(size: u64) -> Result<(), Error> {
    // ext4 with its journal needs a few MiB, and ends at 16 TiB.
    if (8..=16 << 20).contains(&size) {
        return Ok(());
    }
    Err(Error::Argument {
        what: "size".into(),
        reason: format!("expected 8 to {} MiB, got {size}", 16 << 20),
    })
}

/// Nothing to do if it is not there.
pub(super) fn delete(cpi: &Cpi, cid: &DiskCid) -> Result<(), Error> {
    let _lock = match cpi.store.lock(cid) {
        Ok(lock) => lock,
        Err(Error::DiskNotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    match cpi.store.read(cid) {
        Ok(record) => refuse_attached(cpi, cid, &record)?,
        Err(Error::DiskNotFound(_)) => {}
        Err(error) => return Err(error),
    }
    cpi.store.remove(cid)
}

fn refuse_attached(cpi: &Cpi, cid: &DiskCid, record: &DiskRecord) -> Result<(), Error> {
    match &record.vm {
        Some(vm) if cpi.store.exists(vm) => Err(Error::DiskAttached {
            disk: cid.clone(),
            vm: vm.clone(),
        }),
        _ => Ok(()),
    }
}

/// Returns the hint for the agent: the path in the VM. Attaching what is attached already does nothing.
pub(super) fn attach(cpi: &Cpi, vm: &VmCid, cid: &DiskCid) -> Result<String, Error> {
    let _vm_lock = cpi.store.lock(vm)?;
    let _disk_lock = cpi.store.lock(cid)?;
    let mut vm_record = cpi.store.read(vm)?;
    let mut disk_record = cpi.store.read(cid)?;
    if disk_record.vm.as_ref() != Some(vm) {
        refuse_attached(cpi, cid, &disk_record)?;
    }
    // Recorded first: whatever happens next, the disk is not given to another VM while it may be mounted in this one.
    disk_record.vm = Some(vm.clone());
    cpi.store.write(cid, &disk_record)?;
    let attached = match Runc::new(&cpi.config, &cpi.store).pid(vm)? {
        Some(pid) => disk::plug(&cpi.store, cid, pid)?,
        // It shows when the VM is started again.
        None => Attached {
            device: String::new(),
            root: String::new(),
        },
    };
    vm_record.disks.insert(cid.clone(), attached);
    cpi.store.write(vm, &vm_record)?;
    update_settings(cpi, vm, |settings| settings::attach(settings, cid))?;
    Ok(settings::disk_path(cid))
}

pub(super) fn detach(cpi: &Cpi, vm: &VmCid, cid: &DiskCid) -> Result<(), Error> {
    let _vm_lock = cpi.store.lock(vm)?;
    let _disk_lock = cpi.store.lock(cid)?;
    let mut vm_record = cpi.store.read(vm)?;
    let mut disk_record = cpi.store.read(cid)?;
    let Some(attached) = attached(&vm_record, vm, cid, &disk_record)? else {
        return Err(Error::DiskNotAttached {
            disk: cid.clone(),
            vm: vm.clone(),
        });
    };
    if let Some(pid) = Runc::new(&cpi.config, &cpi.store).pid(vm)? {
        disk::unplug(cid, &attached, pid)?;
    }
    vm_record.disks.remove(cid);
    cpi.store.write(vm, &vm_record)?;
    update_settings(cpi, vm, |settings| settings::detach(settings, cid))?;
    disk_record.vm = None;
    cpi.store.write(cid, &disk_record)
}

/// A call that died halfway may have written only one of the two records.
fn attached(
    vm_record: &VmRecord,
    vm: &VmCid,
    cid: &DiskCid,
    disk: &DiskRecord,
) -> Result<Option<Attached>, Error> {
    Ok(match vm_record.disks.get(cid) {
        Some(attached) => Some(attached.clone()),
        None if disk.vm.as_ref() == Some(vm) => Some(Attached {
            device: String::new(),
            root: String::new(),
        }),
        None => None,
    })
}

/// The settings are kept beside the VM's record and, while it runs, in the VM.
fn update_settings(cpi: &Cpi, vm: &VmCid, change: impl FnOnce(&mut Value)) -> Result<(), Error> {
    let path = cpi.store.dir(vm).join("settings.json");
    let mut document: Value = read_json(&path)?.unwrap_or_default();
    change(&mut document);
    write_json(&path, &document)?;
    if let Some(pid) = Runc::new(&cpi.config, &cpi.store).pid(vm)? {
        container::enter(pid, || container::write_settings(&document))?;
    }
    Ok(())
}

/// The ids of the disks attached to a VM.
pub(super) fn of_vm(cpi: &Cpi, vm: &VmCid) -> Result<Vec<DiskCid>, Error> {
    Ok(cpi.store.read(vm)?.disks.into_keys().collect())
}

pub(super) fn set_metadata(cpi: &Cpi, cid: &DiskCid, metadata: Object) -> Result<(), Error> {
    let _lock = cpi.store.lock(cid)?;
    let mut record = cpi.store.read(cid)?;
    record.metadata.extend(metadata);
    cpi.store.write(cid, &record)
}

/// `size` in MiB. The disk must not be attached. The director copies to a new disk where this says "not supported".
pub(super) fn resize(cpi: &Cpi, cid: &DiskCid, size: u64) -> Result<(), Error> {
    let _lock = cpi.store.lock(cid)?;
    let mut record = cpi.store.read(cid)?;
    refuse_attached(cpi, cid, &record)?;
    check_size(size)?;
    if size < record.size {
        return Err(Error::NotSupported(format!(
            "disk '{cid}' has {} MiB and cannot be made smaller",
            record.size
        )));
    }
    if size > record.size {
        disk::grow(&cpi.store.dir(cid), record.kind, size)?;
        record.size = size;
    }
    cpi.store.write(cid, &record)
}
