//! Disks that are made, attached and deleted apart from any deploy, by name.
//!
//! Upstream: jobs/dynamic_disks/. One file per kind of work; here is what they share.

pub mod attach;
pub mod create;
pub mod delete;
pub mod detach;
pub mod provide;

use std::time::Duration;

use bosh_cpi::Cpi;
use bosh_protocol::AgentId;
use serde_json::{Map, Value, json};

use crate::agents::Agent;
use crate::app::Director;
use crate::db::deployments::Deployment;
use crate::db::dynamic_disks::{DynamicDisk, NewDynamicDisk};
use crate::db::instances::Instance;
use crate::db::vms::Vm;
use crate::db::{self, DeploymentId};
use crate::deploy::scope::{api_version, settings};
use crate::manifest::{Config, cloud, raw};
use crate::tasks::{Context, Error};

/// How long to wait for another task that attaches to the same VM.
const VM_LOCK: Duration = Duration::from_secs(60);

/// A task at work on a dynamic disk.
pub(super) struct Work<'a> {
    pub(super) director: &'a Director,
    pub(super) task: &'a Context,
}

/// An instance with its VM.
pub(super) struct Target {
    pub(super) instance: Instance,
    pub(super) vm: Vm,
    pub(super) deployment: Deployment,
}

impl Target {
    pub(super) fn vm_cid(&self) -> &str {
        self.vm.cid.as_deref().unwrap_or_default()
    }
}

impl Work<'_> {
    /// The instance of that id, which must have a VM.
    pub(super) async fn target(&self, uuid: &str) -> Result<Target, Error> {
        let db = &self.director.db;
        let missing = || Error::other(format!("instance `{uuid}` not found"));
        let instance = db::instances::by_uuid(db, uuid)
            .await?
            .ok_or_else(missing)?;
        let deployment = db::deployments::get(db, instance.deployment_id).await?;
        let deployment = deployment.ok_or_else(missing)?;
        let vm = db::vms::active(db, instance.id).await?;
        let vm =
            vm.ok_or_else(|| Error::other(format!("no active vm found for instance `{uuid}`")))?;
        Ok(Target {
            instance,
            vm,
            deployment,
        })
    }

    /// The CPI of that name.
    pub(super) async fn cpi(&self, name: Option<&str>, version: Option<u32>) -> Result<Cpi, Error> {
        let cpis = self.director.cpis().await?;
        Ok(cpis.get(name.unwrap_or_default(), version)?)
    }

    /// The CPI that has a VM.
    pub(super) async fn cpi_of(&self, vm: &Vm) -> Result<Cpi, Error> {
        self.cpi(vm.cpi.as_deref(), api_version(vm)).await
    }

    /// The agent of a VM.
    pub(super) fn agent(&self, vm: &Vm, instance: &str) -> Agent {
        let id = AgentId::from(vm.agent_id.as_deref().unwrap_or_default());
        self.director.agent(&id, instance, self.task)
    }

    /// Makes a disk of a type of the cloud config and records it.
    pub(super) async fn make(
        &self,
        deployment: DeploymentId,
        vm: &Vm,
        name: &str,
        pool: &str,
        size: u64,
        availability_zone: Option<&str>,
    ) -> Result<DynamicDisk, Error> {
        let db = &self.director.db;
        let mut properties = self.disk_type(pool).await?;
        properties.insert("name".into(), json!(name));
        let cpi = self.cpi_of(vm).await?;
        let vm_cid = vm.cid.as_deref();
        let created = cpi.create_disk(size, properties, vm_cid, self.task).await?;
        let disk_cid = created.disk_cid;
        let new = NewDynamicDisk {
            name: name.to_owned(),
            disk_cid: disk_cid.clone(),
            deployment_id: deployment,
            size: i32::try_from(size).unwrap_or(i32::MAX),
            disk_pool_name: pool.to_owned(),
            cpi: vm.cpi.clone(),
            availability_zone: availability_zone.map(str::to_owned),
        };
        match db::dynamic_disks::create(db, new).await {
            Ok(disk) => {
                created.receipt.settle();
                Ok(disk)
            }
            Err(error) => {
                cpi.delete_disk(&disk_cid, self.task).await?;
                created.receipt.settle();
                Err(error.into())
            }
        }
    }

    /// The cloud properties of a disk type.
    async fn disk_type(&self, name: &str) -> Result<Map<String, Value>, Error> {
        let rows = db::configs::latest_set(&self.director.db, "cloud").await?;
        if rows.is_empty() {
            return Err(Error::other("No cloud configs provided"));
        }
        let mut configs = Vec::new();
        for row in rows {
            configs.push(Config {
                id: i64::from(row.id.0),
                name: row.name,
                content: raw::parse(&row.content)?,
            });
        }
        let merged = cloud::flatten(cloud::merge(&configs)?);
        let cloud = cloud::read(&merged, &settings(self.director))?;
        let found = cloud.disk_types.iter().find(|kind| kind.name == name);
        match found {
            Some(kind) => Ok(kind.cloud_properties.clone()),
            None => Err(Error::other(format!(
                "Could not find disk pool by name `{name}`"
            ))),
        }
    }

    /// Attaches a disk to a VM and notes so; how the agent finds it.
    pub(super) async fn attach(&self, disk: &DynamicDisk, to: &Target) -> Result<Value, Error> {
        let cpi = self.cpi_of(&to.vm).await?;
        let name = format!("lock:vm:{}", to.vm_cid());
        let lock = self.task.lock(&name, VM_LOCK).await?;
        let hint = cpi
            .attach_disk(to.vm_cid(), &disk.disk_cid, self.task)
            .await;
        lock.release().await;
        let hint = hint?;
        let az = to.instance.availability_zone.as_deref();
        db::dynamic_disks::set_attached(&self.director.db, disk.id, to.vm.id, az, &hint).await?;
        Ok(hint)
    }

    /// Detaches a disk from the VM that has it, in the cloud.
    pub(super) async fn detach(&self, cpi: &Cpi, vm_cid: &str, disk: &str) -> Result<(), Error> {
        let lock = self
            .task
            .lock(&format!("lock:vm:{vm_cid}"), VM_LOCK)
            .await?;
        let done = cpi.detach_disk(vm_cid, disk, self.task).await;
        lock.release().await;
        match done {
            Err(error) if error.is_disk_not_attached() => {
                self.task.debug(error.to_string());
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Tags a disk, unless it has these tags already. A CPI that cannot is left alone.
    pub(super) async fn tag(
        &self,
        cpi: &Cpi,
        disk: &DynamicDisk,
        deployment: &str,
        metadata: Option<Map<String, Value>>,
    ) -> Result<(), Error> {
        let Some(metadata) = metadata else {
            return Ok(());
        };
        let kept = Value::Object(metadata.clone());
        if disk.metadata() == kept {
            return Ok(());
        }
        let mut tags = metadata;
        tags.insert("director".into(), json!(self.director.config.name));
        tags.insert("deployment".into(), json!(deployment));
        match cpi.set_disk_metadata(&disk.disk_cid, tags, self.task).await {
            Err(error) if error.is_not_implemented() => self.task.debug(error.to_string()),
            other => other?,
        }
        db::dynamic_disks::set_metadata(&self.director.db, disk.id, &kept).await?;
        Ok(())
    }
}
