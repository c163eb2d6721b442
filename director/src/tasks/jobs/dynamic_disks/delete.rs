//! Deletes a disk.

use serde::{Deserialize, Serialize};

use super::Work;
use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Deletes a disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteDynamicDisk {
    /// What it was named.
    pub name: String,
}

impl DeleteDynamicDisk {
    /// Runs the task. One that is not there is done with.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let work = Work { director, task };
        let Some(disk) = db::dynamic_disks::find(&director.db, &self.name).await? else {
            let name = &self.name;
            return Ok(format!("disk with name `{name}` was already deleted"));
        };
        let cpi = work.cpi(disk.cpi.as_deref(), None).await?;
        let cid = &disk.disk_cid;
        if cpi.has_disk(cid, task).await? {
            cpi.delete_disk(cid, task).await?;
        }
        db::dynamic_disks::delete(&director.db, disk.id).await?;
        Ok(format!("deleted disk `{cid}`"))
    }
}
