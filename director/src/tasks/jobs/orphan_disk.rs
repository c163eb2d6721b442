//! Takes a disk from its instance and keeps it as an orphan.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Takes a disk from its instance and keeps it as an orphan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrphanDisk {
    /// The cloud's id of the disk.
    pub disk_cid: String,
}

impl OrphanDisk {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let stage = task.stage("Orphan disk", Vec::new(), Some(1));
        let cid = &self.disk_cid;
        stage.run(cid.clone(), self.orphan(director, task)).await?;
        Ok(format!("disk {cid} orphaned"))
    }

    async fn orphan(&self, director: &Director, task: &Context) -> Result<(), Error> {
        let (db, cid) = (&director.db, &self.disk_cid);
        let Some(disk) = db::disks::find(db, cid).await? else {
            task.warn(&format!("Disk {cid} does not exist. Orphaning is skipped"));
            return Ok(());
        };
        let missing = || Error::other(format!("disk {cid} belongs to nothing"));
        let instance = db::instances::get(db, disk.instance_id)
            .await?
            .ok_or_else(missing)?;
        let deployment = db::deployments::get(db, instance.deployment_id).await?;
        let deployment = deployment.ok_or_else(missing)?;
        let event = db::events::NewEvent {
            action: "orphan".to_owned(),
            object_type: "disk".to_owned(),
            object_name: Some(cid.clone()),
            deployment: Some(deployment.name.clone()),
            instance: Some(instance.name()),
            ..db::events::NewEvent::default()
        };
        let orphaned = async {
            let tx = db.begin().await?;
            let az = instance.availability_zone.as_deref();
            db::disks::orphan(&tx, &disk, az, &deployment.name, &instance.name()).await?;
            tx.commit().await?;
            Ok::<_, Error>(())
        };
        task.recorded(event, orphaned).await
    }
}
