//! Detaches a disk from whatever has it.

use serde::{Deserialize, Serialize};

use super::Work;
use crate::app::Director;
use crate::db;
use crate::deploy::scope::api_version;
use crate::tasks::{Context, Error};

/// Detaches a disk from whatever has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DetachDynamicDisk {
    /// What it was named.
    pub name: String,
}

impl DetachDynamicDisk {
    /// Runs the task. One that is attached to nothing is left alone.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let work = Work { director, task };
        let db = &director.db;
        let Some(disk) = db::dynamic_disks::find(db, &self.name).await? else {
            return Err(Error::other(format!(
                "disk `{}` can not be found in the database",
                self.name
            )));
        };
        let cid = &disk.disk_cid;
        let vm = match disk.vm_id {
            Some(id) => db::vms::get(db, id).await?,
            None => None,
        };
        let Some(vm) = vm else {
            return Ok(format!("disk `{cid}` was already detached"));
        };
        let instance = db::instances::get(db, vm.instance_id).await?;
        let name = instance.map(|instance| instance.name()).unwrap_or_default();
        work.agent(&vm, &name).remove_dynamic_disk(cid).await?;
        let cpi = work.cpi(disk.cpi.as_deref(), api_version(&vm)).await?;
        let vm_cid = vm.cid.as_deref().unwrap_or_default();
        work.detach(&cpi, vm_cid, cid).await?;
        db::dynamic_disks::set_detached(db, disk.id).await?;
        Ok(format!("detached disk `{cid}` from vm `{vm_cid}`"))
    }
}
