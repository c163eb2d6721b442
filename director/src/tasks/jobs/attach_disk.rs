//! Attaches a disk to an instance in place of its own.

use bosh_director_api::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::Director;
use crate::db;
use crate::db::disks::{Disk, NewDisk};
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::deploy::steps::disks;
use crate::deploy::subject::Subject;
use crate::deploy::{load, subjects};
use crate::tasks::{Context, Error};

/// Attaches a disk to an instance in place of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachDisk {
    /// The deployment's name.
    pub deployment: String,
    /// The instance group.
    pub group: String,
    /// The instance's uuid or index.
    pub instance: String,
    /// The cloud's id of the disk.
    pub disk_cid: String,
    /// `copy` to copy the data, empty to use the disk itself.
    #[serde(default)]
    pub disk_properties: String,
}

impl AttachDisk {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let lock = task.lock_deployment(&self.deployment).await?;
        let done = self.attach(&scope).await;
        lock.release().await;
        done?;
        Ok(format!(
            "attached disk '{}' to '{}/{}' in deployment '{}'",
            self.disk_cid, self.group, self.instance, self.deployment
        ))
    }

    async fn attach(&self, scope: &Scope) -> Result<(), Error> {
        let rows = Rows::of(scope).await?;
        let who = format!(
            "Instance '{}/{}' in deployment '{}'",
            self.group, self.instance, self.deployment
        );
        let found = rows.instances.iter().find(|row| {
            row.job == self.group
                && (row.uuid() == self.instance || row.index.to_string() == self.instance)
        });
        let Some(row) = found else {
            return Err(Error::new(
                Code::AttachDiskErrorUnknownInstance,
                format!("{who} was not found"),
            ));
        };
        let refused =
            |why: &str| Error::new(Code::AttachDiskInvalidInstanceState, format!("{who} {why}"));
        if row.is_ignored() {
            return Err(refused(
                "is in 'ignore' state. Attaching disks to ignored instances is not allowed.",
            ));
        }
        if !matches!(row.state.as_str(), "detached" | "stopped") {
            return Err(refused("must be in 'bosh stopped' state"));
        }
        let mut subject = subjects::of_row(row, &rows, true, false);
        subject.tags = load::deployed_tags(scope).await?;
        let previous = subject.managed_disk().cloned();
        if let Some(previous) = &previous {
            self.put_aside(scope, &mut subject, previous).await?;
        }
        let disk = self.adopt(scope, &subject, previous.as_ref()).await?;
        if row.state == "stopped" {
            disks::attach_and_mount(scope, &subject, &disk).await?;
        }
        Ok(())
    }

    async fn put_aside(
        &self,
        scope: &Scope,
        subject: &mut Subject,
        disk: &Disk,
    ) -> Result<(), Error> {
        db::disks::set_active(scope.db(), disk.id, false).await?;
        let disk = Disk {
            active: Some(false),
            ..disk.clone()
        };
        if subject.was == "stopped" {
            disks::unmount_and_detach(scope, subject, &disk).await?;
        }
        disks::orphan(scope, subject, &disk).await
    }

    /// The disk as the instance's own: an orphan, or one that nobody knew.
    async fn adopt(
        &self,
        scope: &Scope,
        subject: &Subject,
        previous: Option<&Disk>,
    ) -> Result<Disk, Error> {
        let tx = scope.db().begin().await?;
        let disk = match db::disks::find_orphan(&tx, &self.disk_cid).await? {
            Some(orphan) => db::disks::adopt(&tx, &orphan, subject.id).await?,
            None => {
                let like = previous.filter(|_| self.disk_properties == "copy");
                let new = NewDisk {
                    instance_id: subject.id,
                    disk_cid: self.disk_cid.clone(),
                    size: like.and_then(|disk| disk.size).unwrap_or(1),
                    active: true,
                    cloud_properties: like
                        .map_or_else(|| Value::Object(Map::new()), Disk::cloud_properties),
                    name: String::new(),
                    cpi: subject.cpi.clone(),
                };
                db::disks::create(&tx, new).await?
            }
        };
        tx.commit().await?;
        Ok(disk)
    }
}
