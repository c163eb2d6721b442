//! Attaches a disk to an instance.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Target, Work};
use crate::app::Director;
use crate::db::deployments;
use crate::db::dynamic_disks::{self, DynamicDisk};
use crate::tasks::{Context, Error};

/// Attaches a disk to an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachDynamicDisk {
    /// What it was named.
    pub name: String,
    /// The instance's id.
    pub instance: String,
    /// Tags.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
}

impl AttachDynamicDisk {
    /// Runs the task. A disk that the instance has already is announced to its agent again.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let work = Work { director, task };
        let name = &self.name;
        let Some(disk) = dynamic_disks::find(&director.db, name).await? else {
            return Err(Error::other(format!("disk `{name}` not found")));
        };
        let target = work.target(&self.instance).await?;
        self.check(&work, &disk, &target).await?;
        let hint = match disk.vm_id {
            Some(_) => disk.hint(),
            None => Some(work.attach(&disk, &target).await?),
        };
        let cpi = work.cpi_of(&target.vm).await?;
        let deployment = &target.deployment.name;
        work.tag(&cpi, &disk, deployment, self.metadata).await?;
        work.agent(&target.vm, &target.instance.name())
            .add_dynamic_disk(&disk.disk_cid, &hint.unwrap_or(Value::Null))
            .await?;
        Ok(format!(
            "attached disk `{name}` to vm `{}` in deployment `{deployment}`",
            target.vm_cid()
        ))
    }

    async fn check(&self, work: &Work<'_>, disk: &DynamicDisk, to: &Target) -> Result<(), Error> {
        let db = &work.director.db;
        let (name, instance) = (&self.name, &self.instance);
        if let Some(other) = disk.vm_id.filter(|id| *id != to.vm.id) {
            let cid = crate::db::vms::get(db, other).await?.and_then(|vm| vm.cid);
            return Err(Error::other(format!(
                "disk `{name}` is already attached to a different vm `{}`",
                cid.unwrap_or_default()
            )));
        }
        if let (Some(here), Some(there)) = (&disk.availability_zone, &to.instance.availability_zone)
            && here != there
        {
            return Err(Error::other(format!(
                "disk `{name}` is in AZ `{here}` but instance `{instance}` is in AZ `{there}`"
            )));
        }
        if disk.deployment_id != to.deployment.id {
            let owner = deployments::get(db, disk.deployment_id).await?;
            return Err(Error::other(format!(
                "disk `{name}` belongs to deployment `{}` and cannot be attached to deployment `{}`",
                owner.map(|owner| owner.name).unwrap_or_default(),
                to.deployment.name
            )));
        }
        let of_vm = to.vm.cpi.as_deref().unwrap_or_default();
        match disk.cpi.as_deref().unwrap_or_default() {
            "" => Ok(()),
            cpi if cpi == of_vm => Ok(()),
            cpi => Err(Error::other(format!(
                "disk `{name}` uses CPI `{cpi}` but target vm uses CPI `{of_vm}`"
            ))),
        }
    }
}
