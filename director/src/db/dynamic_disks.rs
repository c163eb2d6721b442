//! Disks that were made apart from any deploy.

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{Connection, Error, all, first, one, params};
use super::row::{DeploymentId, DynamicDiskId, VmId};

/// A row of `dynamic_disks`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct DynamicDisk {
    /// Primary key.
    pub id: DynamicDiskId,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// What it is attached to.
    pub vm_id: Option<VmId>,
    /// The cloud's id.
    pub disk_cid: String,
    /// How the agent finds it, JSON.
    pub disk_hint_json: Option<String>,
    /// What it was named.
    pub name: String,
    /// Its disk type.
    pub disk_pool_name: String,
    /// The name of its CPI, empty for the director's own.
    pub cpi: Option<String>,
    /// Its size in MiB.
    pub size: i32,
    /// Tags, JSON.
    pub metadata_json: Option<String>,
    /// Where it is.
    pub availability_zone: Option<String>,
}

impl DynamicDisk {
    /// Its tags.
    pub fn metadata(&self) -> Json {
        self.metadata_json
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| Json::Object(serde_json::Map::new()))
    }

    /// How the agent finds it; `None` when it was never attached.
    pub fn hint(&self) -> Option<Json> {
        serde_json::from_str(self.disk_hint_json.as_deref()?).ok()
    }
}

/// A disk to record.
#[derive(Debug, Clone)]
pub struct NewDynamicDisk {
    /// What it is named.
    pub name: String,
    /// The cloud's id.
    pub disk_cid: String,
    /// Whose.
    pub deployment_id: DeploymentId,
    /// Its size in MiB.
    pub size: i32,
    /// Its disk type.
    pub disk_pool_name: String,
    /// The name of its CPI.
    pub cpi: Option<String>,
    /// Where it is.
    pub availability_zone: Option<String>,
}

/// A disk with the names of what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Listed {
    /// What it was named.
    pub name: String,
    /// The cloud's id.
    pub disk_cid: String,
    /// The deployment's name.
    pub deployment: Option<String>,
    /// The group of the instance that has it.
    pub job: Option<String>,
    /// The id of the instance that has it.
    pub uuid: Option<String>,
    /// Where it is.
    pub availability_zone: Option<String>,
    /// Its size in MiB.
    pub size: i32,
    /// Its disk type.
    pub disk_pool_name: String,
    /// The name of its CPI.
    pub cpi: Option<String>,
    /// Tags, JSON.
    pub metadata_json: Option<String>,
}

/// All of them.
pub async fn list(db: &dyn Connection) -> Result<Vec<Listed>, Error> {
    all(
        db,
        "select k.name, k.disk_cid, d.name as deployment, i.job, i.uuid, k.availability_zone, \
         k.size, k.disk_pool_name, k.cpi, k.metadata_json from dynamic_disks k \
         left join deployments d on d.id = k.deployment_id \
         left join vms v on v.id = k.vm_id left join instances i on i.id = v.instance_id \
         order by k.id",
        vec![],
    )
    .await
}

/// Those of a deployment.
pub async fn by_deployment(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Vec<DynamicDisk>, Error> {
    all(
        db,
        "select * from dynamic_disks where deployment_id = $1 order by id",
        params![id],
    )
    .await
}

/// Those attached to a VM.
pub async fn by_vm(db: &dyn Connection, id: VmId) -> Result<Vec<DynamicDisk>, Error> {
    all(
        db,
        "select * from dynamic_disks where vm_id = $1 order by id",
        params![id],
    )
    .await
}

/// The one of that name.
pub async fn find(db: &dyn Connection, name: &str) -> Result<Option<DynamicDisk>, Error> {
    first(
        db,
        "select * from dynamic_disks where name = $1",
        params![name],
    )
    .await
}

/// Inserts a disk.
pub async fn create(db: &dyn Connection, new: NewDynamicDisk) -> Result<DynamicDisk, Error> {
    one(
        db,
        "insert into dynamic_disks (name, disk_cid, deployment_id, size, disk_pool_name, cpi, \
         availability_zone) values ($1, $2, $3, $4, $5, $6, $7) returning *",
        params![
            new.name,
            new.disk_cid,
            new.deployment_id,
            new.size,
            new.disk_pool_name,
            new.cpi,
            new.availability_zone
        ],
    )
    .await
}

/// Notes what it is attached to, where, and how the agent finds it.
pub async fn set_attached(
    db: &dyn Connection,
    id: DynamicDiskId,
    vm: VmId,
    availability_zone: Option<&str>,
    hint: &Json,
) -> Result<(), Error> {
    db.execute(
        "update dynamic_disks set vm_id = $1, availability_zone = $2, disk_hint_json = $3 \
         where id = $4",
        params![
            vm,
            availability_zone.map(str::to_owned),
            hint.to_string(),
            id
        ],
    )
    .await?;
    Ok(())
}

/// Notes that it is attached to nothing.
pub async fn set_detached(db: &dyn Connection, id: DynamicDiskId) -> Result<(), Error> {
    db.execute(
        "update dynamic_disks set vm_id = null, disk_hint_json = null where id = $1",
        params![id],
    )
    .await?;
    Ok(())
}

/// Replaces its tags.
pub async fn set_metadata(
    db: &dyn Connection,
    id: DynamicDiskId,
    metadata: &Json,
) -> Result<(), Error> {
    db.execute(
        "update dynamic_disks set metadata_json = $1 where id = $2",
        params![metadata.to_string(), id],
    )
    .await?;
    Ok(())
}

/// Forgets it.
pub async fn delete(db: &dyn Connection, id: DynamicDiskId) -> Result<(), Error> {
    db.execute("delete from dynamic_disks where id = $1", params![id])
        .await?;
    Ok(())
}
