//! Deletes snapshots by the cloud's ids.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::deploy::steps::snapshot;
use crate::deploy::subjects;
use crate::tasks::{Context, Error};

/// Deletes snapshots of one deployment by the cloud's ids.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteSnapshots {
    /// The deployment's name.
    pub deployment: String,
    /// The snapshots.
    pub cids: Vec<String>,
}

impl DeleteSnapshots {
    /// Runs the task. What is gone already is left out.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let all = self.cids.join(", ");
        task.debug(format!("deleting snapshots: {all}"));
        delete(&scope, Some(&self.cids)).await?;
        Ok(format!("snapshot(s) {all} deleted"))
    }
}

/// Deletes snapshots of the deployment, all or those of these ids.
pub(super) async fn delete(scope: &Scope, only: Option<&[String]>) -> Result<(), Error> {
    let rows = Rows::of(scope).await?;
    for row in &rows.instances {
        let subject = subjects::of_row(row, &rows, true, false);
        for disk in &subject.disks {
            let mut snapshots = db::disks::snapshots(scope.db(), disk.id).await?;
            if let Some(only) = only {
                snapshots.retain(|snapshot| only.contains(&snapshot.snapshot_cid));
            }
            if !snapshots.is_empty() {
                snapshot::delete(scope, &subject, disk, &snapshots).await?;
            }
        }
    }
    Ok(())
}
