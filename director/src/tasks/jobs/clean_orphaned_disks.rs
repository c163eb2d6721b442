//! Deletes disks that have been orphans for long (upstream:
//! jobs/scheduled_orphaned_disk_cleanup.rb).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cleanup_artifacts::delete_disk;
use crate::app::Director;
use crate::db::{self, Timestamp};
use crate::tasks::{Context, Error};

/// Deletes disks that have been orphans for long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanOrphanedDisks {
    /// For how many days they are kept.
    pub max_orphaned_age_in_days: u32,
}

impl CleanOrphanedDisks {
    /// Whether there are any.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        Ok(!self.old(director).await?.1.is_empty())
    }

    async fn old(
        &self,
        director: &Director,
    ) -> Result<(Timestamp, Vec<db::disks::OrphanDisk>), Error> {
        let age = Duration::from_secs(u64::from(self.max_orphaned_age_in_days) * 86_400);
        let before = Timestamp::now() - age;
        let mut disks = db::disks::orphans(&director.db).await?;
        disks.retain(|disk| disk.created_at < before);
        Ok((before, disks))
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let (before, disks) = self.old(director).await?;
        let stage = task.stage("Deleting orphan disks", Vec::new(), Some(disks.len()));
        let cpis = director.cpis().await?;
        let mut failed = 0;
        for disk in &disks {
            task.checkpoint()?;
            let deleted = delete_disk(director, task, &cpis, disk);
            if let Err(error) = stage.run(disk.disk_cid.clone(), deleted).await {
                task.debug(format!(
                    "orphan disk {} stays: {}",
                    disk.disk_cid,
                    error.chain()
                ));
                failed += 1;
            }
        }
        let output = format!(
            "Deleted {} orphaned disk(s) older than {}. Failed to delete {failed} disk(s).",
            disks.len() - failed,
            before.to_ruby()
        );
        if failed > 0 {
            Err(Error::other(output))
        } else {
            Ok(output)
        }
    }
}
