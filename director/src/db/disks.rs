//! Persistent disks, snapshots, and the orphans of both.

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{Connection, Error, Update, all, first, one, params};
use super::row::{DeploymentId, DiskId, InstanceId, OrphanDiskId, SnapshotId, Timestamp};

/// A row of `persistent_disks`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Disk {
    /// Primary key.
    pub id: DiskId,
    /// Whose.
    pub instance_id: InstanceId,
    /// The cloud's id.
    pub disk_cid: String,
    /// In MiB.
    pub size: Option<i32>,
    /// In use, rather than about to be orphaned.
    pub active: Option<bool>,
    /// Its cloud properties, JSON.
    pub cloud_properties_json: Option<String>,
    /// Empty for the one that the director mounts.
    pub name: Option<String>,
    /// The CPI that has it.
    pub cpi: Option<String>,
}

impl Disk {
    /// Whether it is in use.
    pub fn is_active(&self) -> bool {
        self.active.unwrap_or(false)
    }

    /// Whether the director mounts it, rather than a job.
    pub fn is_managed(&self) -> bool {
        self.name.as_deref().unwrap_or_default().is_empty()
    }

    /// Its cloud properties, parsed.
    pub fn cloud_properties(&self) -> Json {
        json_object(self.cloud_properties_json.as_deref())
    }
}

/// A disk to insert.
#[derive(Debug, Clone)]
pub struct NewDisk {
    /// Whose.
    pub instance_id: InstanceId,
    /// The cloud's id.
    pub disk_cid: String,
    /// In MiB.
    pub size: i32,
    /// In use.
    pub active: bool,
    /// Its cloud properties.
    pub cloud_properties: Json,
    /// Empty for the one that the director mounts.
    pub name: String,
    /// The CPI that has it.
    pub cpi: String,
}

/// A row of `orphan_disks`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct OrphanDisk {
    /// Primary key.
    pub id: OrphanDiskId,
    /// The cloud's id.
    pub disk_cid: String,
    /// In MiB.
    pub size: Option<i32>,
    /// Where it is.
    pub availability_zone: Option<String>,
    /// Whose it was.
    pub deployment_name: String,
    /// Whose it was: `group/uuid`.
    pub instance_name: String,
    /// Its cloud properties, JSON.
    pub cloud_properties_json: Option<String>,
    /// Orphaned when.
    pub created_at: Timestamp,
    /// The CPI that has it.
    pub cpi: Option<String>,
}

impl OrphanDisk {
    /// Its cloud properties, parsed.
    pub fn cloud_properties(&self) -> Json {
        json_object(self.cloud_properties_json.as_deref())
    }
}

/// A row of `snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Snapshot {
    /// Primary key.
    pub id: SnapshotId,
    /// Of which disk.
    pub persistent_disk_id: DiskId,
    /// Taken while the jobs were stopped.
    pub clean: Option<bool>,
    /// Taken when.
    pub created_at: Timestamp,
    /// The cloud's id.
    pub snapshot_cid: String,
}

/// A snapshot and whose disk it is of.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct InstanceSnapshot {
    /// The instance group.
    pub job: String,
    /// The instance's index.
    pub index: i32,
    /// The instance's id.
    pub uuid: Option<String>,
    /// The cloud's id.
    pub snapshot_cid: String,
    /// Taken when.
    pub created_at: Timestamp,
    /// Taken while the jobs were stopped.
    pub clean: Option<bool>,
}

/// A row of `orphan_snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct OrphanSnapshot {
    /// Primary key.
    pub id: i32,
    /// Of which disk.
    pub orphan_disk_id: OrphanDiskId,
    /// The cloud's id.
    pub snapshot_cid: String,
}

/// Inserts a disk.
pub async fn create(db: &dyn Connection, new: NewDisk) -> Result<Disk, Error> {
    one(
        db,
        "insert into persistent_disks (instance_id, disk_cid, size, active, \
         cloud_properties_json, name, cpi) values ($1, $2, $3, $4, $5, $6, $7) returning *",
        params![
            new.instance_id,
            new.disk_cid,
            new.size,
            new.active,
            new.cloud_properties.to_string(),
            new.name,
            new.cpi
        ],
    )
    .await
}

/// The disk with that key.
pub async fn get(db: &dyn Connection, id: DiskId) -> Result<Option<Disk>, Error> {
    first(
        db,
        "select * from persistent_disks where id = $1",
        params![id],
    )
    .await
}

/// The disk with that cloud id.
pub async fn find(db: &dyn Connection, cid: &str) -> Result<Option<Disk>, Error> {
    first(
        db,
        "select * from persistent_disks where disk_cid = $1",
        params![cid],
    )
    .await
}

/// The disks of an instance, active or not.
pub async fn by_instance(db: &dyn Connection, id: InstanceId) -> Result<Vec<Disk>, Error> {
    all(
        db,
        "select * from persistent_disks where instance_id = $1 order by id",
        params![id],
    )
    .await
}

/// The disks of a deployment, active or not.
pub async fn by_deployment(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Disk>, Error> {
    all(
        db,
        "select d.* from persistent_disks d join instances i on i.id = d.instance_id \
         where i.deployment_id = $1 order by d.id",
        params![id],
    )
    .await
}

/// Marks a disk in use, or not.
pub async fn set_active(db: &dyn Connection, id: DiskId, active: bool) -> Result<(), Error> {
    Update::new()
        .set("active", Some(active))
        .by_id(db, "persistent_disks", id)
        .await
}

/// Notes a disk's new size and cloud properties (after a resize in place).
pub async fn set_size(
    db: &dyn Connection,
    id: DiskId,
    size: i32,
    cloud_properties: &Json,
) -> Result<(), Error> {
    Update::new()
        .set("size", Some(size))
        .set("cloud_properties_json", Some(cloud_properties.to_string()))
        .by_id(db, "persistent_disks", id)
        .await
}

/// Notes that the CPI made another disk of it.
pub async fn set_cid(db: &dyn Connection, id: DiskId, cid: &str) -> Result<(), Error> {
    Update::new()
        .set("disk_cid", Some(cid))
        .by_id(db, "persistent_disks", id)
        .await
}

/// Deletes the row and its snapshots' rows.
pub async fn delete(db: &dyn Connection, id: DiskId) -> Result<(), Error> {
    db.execute(
        "delete from snapshots where persistent_disk_id = $1",
        params![id],
    )
    .await?;
    db.execute("delete from persistent_disks where id = $1", params![id])
        .await?;
    Ok(())
}

/// Turns a disk into an orphan; its snapshots go along. Use a transaction.
pub async fn orphan(
    db: &dyn Connection,
    disk: &Disk,
    availability_zone: Option<&str>,
    deployment_name: &str,
    instance_name: &str,
) -> Result<OrphanDisk, Error> {
    let orphan: OrphanDisk = one(
        db,
        "insert into orphan_disks (disk_cid, size, availability_zone, deployment_name, \
         instance_name, cloud_properties_json, created_at, cpi) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
        params![
            disk.disk_cid.clone(),
            disk.size,
            availability_zone.map(str::to_owned),
            deployment_name,
            instance_name,
            disk.cloud_properties_json.clone(),
            Timestamp::now(),
            disk.cpi.clone()
        ],
    )
    .await?;
    db.execute(
        "insert into orphan_snapshots (orphan_disk_id, snapshot_cid, clean, created_at, \
         snapshot_created_at) select $1, snapshot_cid, clean, $2, created_at from snapshots \
         where persistent_disk_id = $3",
        params![orphan.id, Timestamp::now(), disk.id],
    )
    .await?;
    delete(db, disk.id).await?;
    Ok(orphan)
}

/// Gives an orphan back to an instance as its active disk. Use a transaction.
pub async fn adopt(
    db: &dyn Connection,
    orphan: &OrphanDisk,
    instance: InstanceId,
) -> Result<Disk, Error> {
    let disk = create(
        db,
        NewDisk {
            instance_id: instance,
            disk_cid: orphan.disk_cid.clone(),
            size: orphan.size.unwrap_or(0),
            active: true,
            cloud_properties: orphan.cloud_properties(),
            name: String::new(),
            cpi: orphan.cpi.clone().unwrap_or_default(),
        },
    )
    .await?;
    db.execute(
        "insert into snapshots (persistent_disk_id, clean, created_at, snapshot_cid) \
         select $1, clean, coalesce(snapshot_created_at, created_at), snapshot_cid \
         from orphan_snapshots where orphan_disk_id = $2",
        params![disk.id, orphan.id],
    )
    .await?;
    delete_orphan(db, orphan.id).await?;
    Ok(disk)
}

/// All orphaned disks, newest first.
pub async fn orphans(db: &dyn Connection) -> Result<Vec<OrphanDisk>, Error> {
    all(
        db,
        "select * from orphan_disks order by created_at desc, id desc",
        vec![],
    )
    .await
}

/// The orphaned disk with that cloud id.
pub async fn find_orphan(db: &dyn Connection, cid: &str) -> Result<Option<OrphanDisk>, Error> {
    first(
        db,
        "select * from orphan_disks where disk_cid = $1",
        params![cid],
    )
    .await
}

/// The snapshots of an orphaned disk.
pub async fn orphan_snapshots(
    db: &dyn Connection,
    id: OrphanDiskId,
) -> Result<Vec<OrphanSnapshot>, Error> {
    all(
        db,
        "select id, orphan_disk_id, snapshot_cid from orphan_snapshots where orphan_disk_id = $1",
        params![id],
    )
    .await
}

/// Forgets a snapshot of an orphaned disk.
pub async fn delete_orphan_snapshot(db: &dyn Connection, id: i32) -> Result<(), Error> {
    db.execute("delete from orphan_snapshots where id = $1", params![id])
        .await?;
    Ok(())
}

/// Forgets an orphaned disk and its snapshots.
pub async fn delete_orphan(db: &dyn Connection, id: OrphanDiskId) -> Result<(), Error> {
    db.execute(
        "delete from orphan_snapshots where orphan_disk_id = $1",
        params![id],
    )
    .await?;
    db.execute("delete from orphan_disks where id = $1", params![id])
        .await?;
    Ok(())
}

/// The snapshots of a disk.
pub async fn snapshots(db: &dyn Connection, id: DiskId) -> Result<Vec<Snapshot>, Error> {
    all(
        db,
        "select * from snapshots where persistent_disk_id = $1 order by id",
        params![id],
    )
    .await
}

/// The snapshots of all disks of a deployment, with the instances they belong to.
pub async fn snapshots_of_deployment(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Vec<InstanceSnapshot>, Error> {
    all(
        db,
        "select i.job, i.\"index\", i.uuid, s.snapshot_cid, s.created_at, s.clean \
         from snapshots s \
         join persistent_disks d on d.id = s.persistent_disk_id \
         join instances i on i.id = d.instance_id \
         where i.deployment_id = $1 order by i.id, d.id, s.id",
        params![id],
    )
    .await
}

/// The name of the deployment that a snapshot belongs to; `None` when there is no such snapshot.
pub async fn deployment_of_snapshot(
    db: &dyn Connection,
    cid: &str,
) -> Result<Option<DeploymentId>, Error> {
    let rows = db
        .rows(
            "select i.deployment_id from snapshots s \
             join persistent_disks d on d.id = s.persistent_disk_id \
             join instances i on i.id = d.instance_id where s.snapshot_cid = $1",
            params![cid],
        )
        .await?;
    Ok(rows
        .first()
        .map(|row| row.try_get("", "deployment_id"))
        .transpose()?)
}

/// Inserts a snapshot.
pub async fn create_snapshot(
    db: &dyn Connection,
    disk: DiskId,
    cid: &str,
    clean: bool,
) -> Result<Snapshot, Error> {
    one(
        db,
        "insert into snapshots (persistent_disk_id, clean, created_at, snapshot_cid) \
         values ($1, $2, $3, $4) returning *",
        params![disk, clean, Timestamp::now(), cid],
    )
    .await
}

/// Forgets a snapshot.
pub async fn delete_snapshot(db: &dyn Connection, id: SnapshotId) -> Result<(), Error> {
    db.execute("delete from snapshots where id = $1", params![id])
        .await?;
    Ok(())
}

fn json_object(text: Option<&str>) -> Json {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_else(|| Json::Object(serde_json::Map::new()))
}
