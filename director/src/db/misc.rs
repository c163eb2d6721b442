//! Small tables: the director's attributes, teams, errand runs, rendered
//! templates, blobs that outlive their task.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, first, one, pairs, params, scalar};
use super::row::{BlobId, DeploymentId, InstanceId, TeamId, Timestamp};

/// The value of one of the director's attributes, such as `uuid`.
pub async fn attribute(db: &dyn Connection, name: &str) -> Result<Option<String>, Error> {
    let value: Option<Option<String>> = scalar(
        db,
        "select value from director_attributes where name = $1",
        params![name],
    )
    .await?;
    Ok(value.flatten())
}

/// Sets one of the director's attributes.
pub async fn set_attribute(db: &dyn Connection, name: &str, value: &str) -> Result<(), Error> {
    db.execute(
        "insert into director_attributes (name, value) values ($1, $2) \
         on conflict (name) do update set value = excluded.value",
        params![name, value],
    )
    .await?;
    Ok(())
}

/// The attribute, set to `value` if it was not there: whoever comes first wins.
pub async fn attribute_or_set(
    db: &dyn Connection,
    name: &str,
    value: &str,
) -> Result<String, Error> {
    db.execute(
        "insert into director_attributes (name, value) values ($1, $2) on conflict do nothing",
        params![name, value],
    )
    .await?;
    Ok(attribute(db, name).await?.unwrap_or_default())
}

/// Notes that a scheduled job is enqueued for a time (seconds since 1970); false when another process, or this one, has
/// done so already.
pub async fn claim_schedule(db: &dyn Connection, job: &str, due: i64) -> Result<bool, Error> {
    // As wide as any time to come, so that text compares as the numbers do.
    let changed = db
        .execute(
            "insert into director_attributes (name, value) values ($1, $2) \
             on conflict (name) do update set value = excluded.value \
             where director_attributes.value < excluded.value",
            params![format!("schedule:{job}"), format!("{due:020}")],
        )
        .await?;
    Ok(changed == 1)
}

/// The team of that name, made if need be.
pub async fn find_or_create_team(db: &dyn Connection, name: &str) -> Result<TeamId, Error> {
    #[derive(FromQueryResult)]
    struct Row {
        id: TeamId,
    }
    db.execute(
        "insert into teams (name) values ($1) on conflict do nothing",
        params![name],
    )
    .await?;
    let row: Row = one(db, "select id from teams where name = $1", params![name]).await?;
    Ok(row.id)
}

/// Whether a VM or a disk of that cloud id is written down anywhere.
pub async fn is_known(db: &dyn Connection, cid: &str) -> Result<bool, Error> {
    let found: Option<i32> = scalar(
        db,
        "select 1 where exists (select 1 from vms where cid = $1) \
         or exists (select 1 from orphaned_vms where cid = $1) \
         or exists (select 1 from persistent_disks where disk_cid = $1) \
         or exists (select 1 from orphan_disks where disk_cid = $1) \
         or exists (select 1 from dynamic_disks where disk_cid = $1)",
        params![cid],
    )
    .await?;
    Ok(found.is_some())
}

/// The names of all teams by id.
pub async fn teams(db: &dyn Connection) -> Result<HashMap<i32, String>, Error> {
    let teams: Vec<(i32, String)> = pairs(db, "select id, name from teams", vec![]).await?;
    Ok(teams.into_iter().collect())
}

/// The state hashes with which an errand last succeeded.
pub async fn errand_runs(
    db: &dyn Connection,
    deployment: DeploymentId,
    errand: &str,
) -> Result<Option<String>, Error> {
    let hash: Option<Option<String>> = scalar(
        db,
        "select successful_state_hash from errand_runs where deployment_id = $1 \
         and errand_name = $2 order by id desc limit 1",
        params![deployment, errand],
    )
    .await?;
    Ok(hash.flatten())
}

/// Notes the state with which an errand succeeded; `None` after a failure.
pub async fn set_errand_run(
    db: &dyn Connection,
    deployment: DeploymentId,
    errand: &str,
    state_hash: Option<&str>,
) -> Result<(), Error> {
    db.execute(
        "delete from errand_runs where deployment_id = $1 and errand_name = $2",
        params![deployment, errand],
    )
    .await?;
    db.execute(
        "insert into errand_runs (deployment_id, errand_name, successful_state_hash) \
         values ($1, $2, $3)",
        params![deployment, errand, state_hash.unwrap_or_default()],
    )
    .await?;
    Ok(())
}

/// A row of `rendered_templates_archives`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct RenderedTemplates {
    /// Primary key.
    pub id: i32,
    /// Whose.
    pub instance_id: InstanceId,
    /// The archive.
    pub blobstore_id: String,
    /// Its digest.
    pub sha1: String,
    /// The digest of what is in it.
    pub content_sha1: String,
}

/// The newest rendered templates of an instance.
pub async fn latest_rendered_templates(
    db: &dyn Connection,
    id: InstanceId,
) -> Result<Option<RenderedTemplates>, Error> {
    first(
        db,
        "select * from rendered_templates_archives where instance_id = $1 \
         order by id desc limit 1",
        params![id],
    )
    .await
}

/// Records rendered templates.
pub async fn add_rendered_templates(
    db: &dyn Connection,
    id: InstanceId,
    blobstore_id: &str,
    sha1: &str,
    content_sha1: &str,
) -> Result<(), Error> {
    db.execute(
        "insert into rendered_templates_archives (instance_id, blobstore_id, sha1, content_sha1, \
         created_at) values ($1, $2, $3, $4, $5)",
        params![id, blobstore_id, sha1, content_sha1, Timestamp::now()],
    )
    .await?;
    Ok(())
}

/// All rendered templates of an instance but the newest: blobs to delete.
pub async fn stale_rendered_templates(
    db: &dyn Connection,
    id: InstanceId,
) -> Result<Vec<RenderedTemplates>, Error> {
    all(
        db,
        "select * from rendered_templates_archives where instance_id = $1 and id < \
         (select max(id) from rendered_templates_archives where instance_id = $1)",
        params![id],
    )
    .await
}

/// All rendered templates of an instance.
pub async fn rendered_templates(
    db: &dyn Connection,
    id: InstanceId,
) -> Result<Vec<RenderedTemplates>, Error> {
    all(
        db,
        "select * from rendered_templates_archives where instance_id = $1",
        params![id],
    )
    .await
}

/// Forgets rendered templates.
pub async fn delete_rendered_templates(db: &dyn Connection, id: i32) -> Result<(), Error> {
    db.execute(
        "delete from rendered_templates_archives where id = $1",
        params![id],
    )
    .await?;
    Ok(())
}

/// A row of `blobs`: one that a client may still come for, or that DNS uses.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Blob {
    /// Primary key.
    pub id: BlobId,
    /// The blob.
    pub blobstore_id: String,
    /// Its digest.
    pub sha1: String,
    /// Made when.
    pub created_at: Timestamp,
    /// Such as `exported-release` or `dns`.
    #[sea_orm(from_alias = "type")]
    pub kind: Option<String>,
}

/// Records a blob.
pub async fn create_blob(
    db: &dyn Connection,
    blobstore_id: &str,
    sha1: &str,
    kind: &str,
) -> Result<Blob, Error> {
    one(
        db,
        "insert into blobs (blobstore_id, sha1, created_at, type) values ($1, $2, $3, $4) \
         returning *",
        params![blobstore_id, sha1, Timestamp::now(), kind],
    )
    .await
}

/// Blobs of one kind, oldest first.
pub async fn blobs(db: &dyn Connection, kind: &str) -> Result<Vec<Blob>, Error> {
    all(
        db,
        "select * from blobs where type = $1 order by id",
        params![kind],
    )
    .await
}

/// Forgets a blob.
pub async fn delete_blob(db: &dyn Connection, id: BlobId) -> Result<(), Error> {
    db.execute("delete from blobs where id = $1", params![id])
        .await?;
    Ok(())
}

/// Notes a bundle of logs that a client will download.
pub async fn add_log_bundle(db: &dyn Connection, blobstore_id: &str) -> Result<(), Error> {
    db.execute(
        "insert into log_bundles (blobstore_id, timestamp) values ($1, $2) on conflict do nothing",
        params![blobstore_id, Timestamp::now()],
    )
    .await?;
    Ok(())
}

/// Takes the bundles older than `age` off the list; their blobs are to be deleted.
pub async fn take_old_log_bundles(
    db: &dyn Connection,
    age: Duration,
) -> Result<Vec<String>, Error> {
    super::connection::column(
        db,
        "delete from log_bundles where timestamp < $1 returning blobstore_id",
        params![Timestamp::now() - age],
    )
    .await
}
