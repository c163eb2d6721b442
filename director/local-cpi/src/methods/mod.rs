//! The methods of the contract, one file per kind of object.

mod disks;
mod info;
mod snapshots;
mod stemcells;
mod vms;

use bosh_cpi::Call;
use serde_json::{Value, json};

use crate::config::Config;
use crate::ids::{DiskCid, SnapshotCid, StemcellCid, VmCid};
use crate::store::Store;
use crate::{Error, container};

pub(crate) use vms::delete_vm;

/// What every method works with.
pub(crate) struct Cpi {
    pub(crate) config: Config,
    pub(crate) store: Store,
}

impl Cpi {
    /// Does what the call asks for and returns its result. Calls that mount get a mount namespace of their own first,
    /// which is the calling thread's from then on.
    pub(crate) fn run(&self, call: Call) -> Result<Value, Error> {
        let done = Ok(Value::Null);
        match call {
            Call::Info => Ok(info::info()),
            Call::Ping => Ok(json!("pong")),
            Call::CreateStemcell {
                image_path,
                cloud_properties,
                ..
            } => {
                let cid = stemcells::create(self, image_path.as_ref(), cloud_properties)?;
                Ok(json!(cid))
            }
            Call::DeleteStemcell { stemcell_cid } => {
                stemcells::delete(self, &stemcell(stemcell_cid)?).and(done)
            }
            Call::CreateVm(request) => {
                container::private()?;
                let (cid, networks) = vms::create_vm(self, &request)?;
                Ok(json!([cid, networks]))
            }
            Call::DeleteVm { vm_cid } => {
                container::private()?;
                vms::delete_vm(self, &vm(vm_cid)?).and(done)
            }
            Call::HasVm { vm_cid } => {
                Ok(json!(vm(vm_cid).is_ok_and(|cid| self.store.exists(&cid))))
            }
            Call::RebootVm { vm_cid } => {
                container::private()?;
                vms::reboot_vm(self, &vm(vm_cid)?).and(done)
            }
            Call::SetVmMetadata { vm_cid, metadata } => {
                vms::set_metadata(self, &vm(vm_cid)?, metadata).and(done)
            }
            Call::CalculateVmCloudProperties { requirements } => {
                Ok(info::cloud_properties(&requirements))
            }
            Call::CreateDisk { size, .. } => Ok(json!(disks::create(self, size)?)),
            Call::DeleteDisk { disk_cid } => disks::delete(self, &disk(disk_cid)?).and(done),
            Call::HasDisk { disk_cid } => Ok(json!(
                disk(disk_cid).is_ok_and(|cid| self.store.exists(&cid))
            )),
            Call::AttachDisk { vm_cid, disk_cid } => {
                container::private()?;
                Ok(json!(disks::attach(self, &vm(vm_cid)?, &disk(disk_cid)?)?))
            }
            Call::DetachDisk { vm_cid, disk_cid } => {
                disks::detach(self, &vm(vm_cid)?, &disk(disk_cid)?).and(done)
            }
            Call::GetDisks { vm_cid } => Ok(json!(disks::of_vm(self, &vm(vm_cid)?)?)),
            Call::SetDiskMetadata { disk_cid, metadata } => {
                disks::set_metadata(self, &disk(disk_cid)?, metadata).and(done)
            }
            Call::ResizeDisk { disk_cid, size } | Call::UpdateDisk { disk_cid, size, .. } => {
                disks::resize(self, &disk(disk_cid)?, size).and(done)
            }
            Call::SnapshotDisk { disk_cid, metadata } => {
                Ok(json!(snapshots::create(self, &disk(disk_cid)?, metadata)?))
            }
            Call::DeleteSnapshot { snapshot_cid } => match SnapshotCid::try_from(snapshot_cid) {
                Ok(cid) => snapshots::delete(self, &cid).and(done),
                // What cannot be one of ours is not here, which is what was asked for.
                Err(_) => done,
            },
            Call::CurrentVmId => Err(Error::NotImplemented("current_vm_id")),
            Call::CreateNetwork { .. } => Err(Error::NotImplemented("create_network")),
            Call::DeleteNetwork { .. } => Err(Error::NotImplemented("delete_network")),
        }
    }
}

fn vm(cid: String) -> Result<VmCid, Error> {
    VmCid::try_from(cid.clone()).map_err(|_| Error::VmNotFound(cid))
}

fn disk(cid: String) -> Result<DiskCid, Error> {
    DiskCid::try_from(cid.clone()).map_err(|_| Error::DiskNotFound(cid))
}

fn stemcell(cid: String) -> Result<StemcellCid, Error> {
    StemcellCid::try_from(cid.clone()).map_err(|_| Error::StemcellNotFound(cid))
}
