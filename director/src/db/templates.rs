//! Jobs of releases, which the database has always called templates.

use std::collections::HashMap;

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{Connection, Error, Update, all, first, one, params};
use super::row::{ReleaseId, ReleaseVersionId, TemplateId};

/// A row of `templates`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Template {
    /// Primary key.
    pub id: TemplateId,
    /// The job's name.
    pub name: String,
    /// Its version: its fingerprint, with today's CLI.
    pub version: String,
    /// The job archive's blob.
    pub blobstore_id: String,
    /// The archive's digest (may be a multi-digest).
    pub sha1: String,
    /// JSON list of the packages it runs.
    pub package_names_json: String,
    /// Whose.
    pub release_id: ReleaseId,
    /// What it was made of, digested.
    pub fingerprint: Option<String>,
    /// job.MF as JSON.
    pub spec_json: Option<String>,
}

impl Template {
    /// job.MF: `templates`, `properties`, `consumes`, `provides`, `packages`, ...
    pub fn spec(&self) -> Json {
        self.spec_json
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Json::Null)
    }

    /// The names of the packages it runs.
    pub fn packages(&self) -> Vec<String> {
        serde_json::from_str(&self.package_names_json).unwrap_or_default()
    }
}

/// A job to insert.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    /// The job's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// The archive's blob.
    pub blobstore_id: String,
    /// The archive's digest.
    pub sha1: String,
    /// The packages it runs.
    pub packages: Vec<String>,
    /// Whose.
    pub release_id: ReleaseId,
    /// job.MF.
    pub spec: Json,
}

/// The jobs of a release version, by name.
pub async fn by_release_version(
    db: &dyn Connection,
    id: ReleaseVersionId,
) -> Result<Vec<Template>, Error> {
    all(
        db,
        "select t.* from templates t \
         join release_versions_templates j on j.template_id = t.id \
         where j.release_version_id = $1 order by t.name",
        params![id],
    )
    .await
}

/// Names of the jobs of every release version.
pub async fn names_by_version(
    db: &dyn Connection,
) -> Result<HashMap<ReleaseVersionId, Vec<String>>, Error> {
    let rows: Vec<(ReleaseVersionId, String)> = super::connection::pairs(
        db,
        "select j.release_version_id, t.name from templates t \
         join release_versions_templates j on j.template_id = t.id order by t.name",
        vec![],
    )
    .await?;
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for (version, name) in rows {
        map.entry(version).or_default().push(name);
    }
    Ok(map)
}

/// All jobs of a release, in any version.
pub async fn by_release(db: &dyn Connection, id: ReleaseId) -> Result<Vec<Template>, Error> {
    all(
        db,
        "select * from templates where release_id = $1 order by name, id",
        params![id],
    )
    .await
}

/// The job with that key.
pub async fn get(db: &dyn Connection, id: TemplateId) -> Result<Option<Template>, Error> {
    first(db, "select * from templates where id = $1", params![id]).await
}

/// Inserts a job.
pub async fn create(db: &dyn Connection, new: NewTemplate) -> Result<Template, Error> {
    one(
        db,
        "insert into templates (name, version, blobstore_id, sha1, package_names_json, \
         release_id, fingerprint, spec_json) values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
        params![
            new.name,
            new.version,
            new.blobstore_id,
            new.sha1,
            Json::from(new.packages).to_string(),
            new.release_id,
            new.fingerprint,
            new.spec.to_string()
        ],
    )
    .await
}

/// Replaces the archive of a job (upload with `fix`).
pub async fn set_blob(
    db: &dyn Connection,
    id: TemplateId,
    blobstore_id: &str,
    sha1: &str,
) -> Result<(), Error> {
    Update::new()
        .set("blobstore_id", Some(blobstore_id))
        .set("sha1", Some(sha1))
        .by_id(db, "templates", id)
        .await
}

/// Jobs of a release that no version has any more.
pub async fn unused(db: &dyn Connection, id: ReleaseId) -> Result<Vec<Template>, Error> {
    all(
        db,
        "select * from templates t where t.release_id = $1 and not exists \
         (select 1 from release_versions_templates j where j.template_id = t.id)",
        params![id],
    )
    .await
}

/// Deletes a job.
pub async fn delete(db: &dyn Connection, id: TemplateId) -> Result<(), Error> {
    db.execute(
        "delete from release_versions_templates where template_id = $1",
        params![id],
    )
    .await?;
    db.execute(
        "delete from instances_templates where template_id = $1",
        params![id],
    )
    .await?;
    db.execute("delete from templates where id = $1", params![id])
        .await?;
    Ok(())
}
