//! Deletes orphaned disks.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Deletes orphaned disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteOrphanDisks {
    /// The clouds' ids.
    pub disk_cids: Vec<String>,
}

impl DeleteOrphanDisks {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let mut disks = Vec::new();
        for cid in &self.disk_cids {
            match db::disks::find_orphan(&director.db, cid).await? {
                Some(disk) => disks.push(disk),
                None => task.debug(format!("disk not found: {cid}")),
            }
        }
        let total = Some(self.disk_cids.len());
        let stage = task.stage("Deleting orphaned disks", Vec::new(), total);
        super::cleanup_artifacts::delete_disks(director, task, &stage, &disks).await?;
        Ok(format!(
            "orphaned disk(s) {} deleted",
            self.disk_cids.join(", ")
        ))
    }
}
