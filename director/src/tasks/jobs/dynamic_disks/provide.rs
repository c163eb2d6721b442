//! Makes a disk, if there is none of that name, and attaches it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Work;
use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Makes a disk, if there is none of that name, and attaches it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProvideDynamicDisk {
    /// The instance's id.
    pub instance: String,
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

impl ProvideDynamicDisk {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let work = Work { director, task };
        let (db, name) = (&director.db, &self.name);
        let target = work.target(&self.instance).await?;
        let (vm, deployment) = (&target.vm, &target.deployment);
        let disk = match db::dynamic_disks::find(db, name).await? {
            Some(disk) => disk,
            None => {
                work.make(deployment.id, vm, name, &self.pool, self.size, None)
                    .await?
            }
        };
        let hint = match disk.vm_id {
            None => Some(work.attach(&disk, &target).await?),
            Some(id) if id == vm.id => disk.hint(),
            Some(id) => {
                let cid = db::vms::get(db, id).await?.and_then(|vm| vm.cid);
                return Err(Error::other(format!(
                    "disk is attached to a different vm `{}`",
                    cid.unwrap_or_default()
                )));
            }
        };
        let cpi = work.cpi_of(vm).await?;
        work.tag(&cpi, &disk, &deployment.name, self.metadata)
            .await?;
        if let Some(hint) = hint {
            work.agent(vm, &target.instance.name())
                .add_dynamic_disk(&disk.disk_cid, &hint)
                .await?;
        }
        task.result_line(&json!({ "disk_cid": disk.disk_cid }))?;
        Ok(format!(
            "attached disk `{name}` to `{}` in deployment `{}`",
            target.vm_cid(),
            deployment.name
        ))
    }
}
