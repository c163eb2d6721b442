//! Makes a disk.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Work;
use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Makes a disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateDynamicDisk {
    /// The deployment's name.
    pub deployment: String,
    /// Where.
    pub az: String,
    /// What to name it.
    pub name: String,
    /// Its disk type.
    pub pool: String,
    /// Its size in MiB.
    pub size: u64,
    /// Tags.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
}

impl CreateDynamicDisk {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let work = Work { director, task };
        let (db, name) = (&director.db, &self.name);
        if db::dynamic_disks::find(db, name).await?.is_some() {
            return Err(Error::other(format!("disk `{name}` already exists")));
        }
        let Some(deployment) = db::deployments::find(db, &self.deployment).await? else {
            let message = format!("deployment `{}` not found", self.deployment);
            return Err(Error::other(message));
        };
        // The cloud puts the disk where this VM is.
        let instances = db::instances::by_deployment(db, deployment.id).await?;
        let vms = db::vms::by_deployment(db, deployment.id).await?;
        let near = instances
            .iter()
            .filter(|instance| instance.availability_zone.as_ref() == Some(&self.az))
            .find_map(|instance| {
                vms.iter()
                    .find(|vm| vm.instance_id == instance.id && vm.is_active())
            });
        let Some(vm) = near else {
            return Err(Error::other(format!(
                "no active VM found in deployment `{}` in AZ `{}`",
                self.deployment, self.az
            )));
        };
        let az = Some(self.az.as_str());
        let disk = work
            .make(deployment.id, vm, name, &self.pool, self.size, az)
            .await?;
        let cpi = work.cpi_of(vm).await?;
        work.tag(&cpi, &disk, &deployment.name, self.metadata)
            .await?;
        task.result_line(&json!({ "disk_cid": disk.disk_cid }))?;
        Ok(format!(
            "created disk `{name}` in deployment `{}` in AZ `{}`",
            self.deployment, self.az
        ))
    }
}
