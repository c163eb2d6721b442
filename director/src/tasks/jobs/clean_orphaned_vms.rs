//! Deletes orphaned VMs (upstream: jobs/scheduled_orphaned_vm_cleanup.rb).

use serde::{Deserialize, Serialize};

use super::cleanup_artifacts::delete_vms;
use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Deletes orphaned VMs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanOrphanedVms {}

impl CleanOrphanedVms {
    /// Whether there are any.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        Ok(!db::vms::orphans(&director.db).await?.is_empty())
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let vms = db::vms::orphans(&director.db).await?;
        let count = delete_vms(director, task, &vms).await?;
        Ok(format!("Deleted {count} orphaned vm(s)"))
    }
}
