//! Snapshots of an instance's disks. Upstream: api/snapshot_manager.rb.

use serde_json::{Map, json};

use super::disks::disk_cpi;
use crate::db;
use crate::db::disks::{Disk, Snapshot};
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// Takes a snapshot of each disk if the director takes snapshots at all; what the CPI calls them.
/// `clean` says that no process writes to them.
pub async fn take(scope: &Scope, subject: &Subject, clean: bool) -> Result<Vec<String>, Error> {
    if !scope.director.config.enable_snapshots {
        scope.task.debug("Snapshots are disabled; skipping");
        return Ok(Vec::new());
    }
    let mut metadata = Map::new();
    metadata.insert("deployment".into(), json!(scope.name()));
    metadata.insert("job".into(), json!(subject.group));
    metadata.insert("index".into(), json!(subject.index));
    metadata.insert("director_name".into(), json!(scope.director.config.name));
    metadata.insert("director_uuid".into(), json!(scope.director.uuid));
    metadata.insert(
        "agent_id".into(),
        json!(subject.vm.as_ref().and_then(|vm| vm.agent_id.clone())),
    );
    metadata.insert("instance_id".into(), json!(subject.uuid));
    metadata.extend(subject.tags.clone());
    let mut cids = Vec::new();
    for disk in &subject.disks {
        let cpi = scope.cpi(disk_cpi(subject, disk), None)?;
        match cpi
            .snapshot_disk(&disk.disk_cid, metadata.clone(), scope.log())
            .await
        {
            Ok(cid) => {
                db::disks::create_snapshot(scope.db(), disk.id, &cid, clean).await?;
                cids.push(cid);
            }
            Err(error) if error.is_not_implemented() => {
                scope
                    .task
                    .debug("CPI does not support disk snapshots; skipping");
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(cids)
}

/// Deletes snapshots of disks of `subject`, in the cloud and here.
pub async fn delete(
    scope: &Scope,
    subject: &Subject,
    disk: &Disk,
    snapshots: &[Snapshot],
) -> Result<(), Error> {
    let cpi = scope.cpi(disk_cpi(subject, disk), None)?;
    for snapshot in snapshots {
        scope.task.checkpoint()?;
        cpi.delete_snapshot(&snapshot.snapshot_cid, scope.log())
            .await?;
        db::disks::delete_snapshot(scope.db(), snapshot.id).await?;
    }
    Ok(())
}
