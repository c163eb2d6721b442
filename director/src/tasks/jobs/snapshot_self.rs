//! By the clock: snapshots of the disks of the VM that the director runs on.

use bosh_cpi::Cpi;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Takes snapshots of the director's own disks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SnapshotSelf {}

impl SnapshotSelf {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        if !director.config.enable_snapshots {
            task.debug("Snapshots are disabled; skipping");
            return Ok(String::new());
        }
        let cpi = director.cpis.default_only().get("", None)?;
        match snapshot(director, &cpi, task).await {
            Ok(disks) => Ok(format!("Snapshot director disks [{}]", disks.join(", "))),
            Err(error) if error.is_not_implemented() => {
                task.debug("CPI does not support disk snapshots; skipping");
                Ok(String::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn snapshot(
    director: &Director,
    cpi: &Cpi,
    task: &Context,
) -> Result<Vec<String>, bosh_cpi::Error> {
    let vm_cid = cpi.current_vm_id(task).await?;
    let disks = cpi.get_disks(&vm_cid, task).await?;
    let Value::Object(metadata) = json!({
        "deployment": "self",
        "job": "director",
        "index": 0,
        "director_name": director.config.name,
        "director_uuid": director.uuid,
        "agent_id": "self",
        "instance_id": vm_cid,
    }) else {
        return Ok(Vec::new());
    };
    for disk in &disks {
        cpi.snapshot_disk(disk, metadata.clone(), task).await?;
    }
    Ok(disks)
}
