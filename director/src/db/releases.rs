//! Releases and their versions.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, Update, all, column, first, one, params};
use super::row::{PackageId, ReleaseId, ReleaseVersionId, TemplateId};

/// A row of `releases`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Release {
    /// Primary key.
    pub id: ReleaseId,
    /// Its name.
    pub name: String,
}

/// A row of `release_versions`, with the release's name.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct ReleaseVersion {
    /// Primary key.
    pub id: ReleaseVersionId,
    /// Whose version.
    pub release_id: ReleaseId,
    /// The release's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The commit it was made from.
    pub commit_hash: Option<String>,
    /// Whether there were changes beyond that commit.
    pub uncommitted_changes: Option<bool>,
    /// Whether its upload reached the end.
    pub update_completed: bool,
}

const VERSION: &str = "select v.id, v.release_id, r.name, v.version, v.commit_hash, \
     v.uncommitted_changes, v.update_completed \
     from release_versions v join releases r on r.id = v.release_id";

/// The release of that name.
pub async fn find(db: &dyn Connection, name: &str) -> Result<Option<Release>, Error> {
    first(db, "select * from releases where name = $1", params![name]).await
}

/// The release of that name, made if need be.
pub async fn find_or_create(db: &dyn Connection, name: &str) -> Result<Release, Error> {
    db.execute(
        "insert into releases (name) values ($1) on conflict (name) do nothing",
        params![name],
    )
    .await?;
    one(db, "select * from releases where name = $1", params![name]).await
}

/// All versions of all releases, by name.
pub async fn all_versions(db: &dyn Connection) -> Result<Vec<ReleaseVersion>, Error> {
    all(db, &format!("{VERSION} order by r.name, v.id"), vec![]).await
}

/// All versions of one release, in the order of their upload.
pub async fn versions(db: &dyn Connection, name: &str) -> Result<Vec<ReleaseVersion>, Error> {
    all(
        db,
        &format!("{VERSION} where r.name = $1 order by v.id"),
        params![name],
    )
    .await
}

/// One version of one release.
pub async fn find_version(
    db: &dyn Connection,
    name: &str,
    version: &str,
) -> Result<Option<ReleaseVersion>, Error> {
    first(
        db,
        &format!("{VERSION} where r.name = $1 and v.version = $2"),
        params![name, version],
    )
    .await
}

/// Inserts a version; its upload is not complete yet.
pub async fn create_version(
    db: &dyn Connection,
    release: ReleaseId,
    version: &str,
    commit_hash: &str,
    uncommitted_changes: bool,
) -> Result<ReleaseVersionId, Error> {
    let id = super::connection::scalar(
        db,
        "insert into release_versions (version, release_id, commit_hash, uncommitted_changes, \
         update_completed) values ($1, $2, $3, $4, $5) returning id",
        params![version, release, commit_hash, uncommitted_changes, false],
    )
    .await?;
    Ok(id.unwrap_or(ReleaseVersionId(-1)))
}

/// Marks the upload complete (or under way again).
pub async fn set_completed(
    db: &dyn Connection,
    id: ReleaseVersionId,
    completed: bool,
) -> Result<(), Error> {
    Update::new()
        .set("update_completed", Some(completed))
        .by_id(db, "release_versions", id)
        .await
}

/// Adds a package to a version.
pub async fn add_package(
    db: &dyn Connection,
    version: ReleaseVersionId,
    package: PackageId,
) -> Result<(), Error> {
    db.execute(
        "insert into packages_release_versions (package_id, release_version_id) values ($1, $2) \
         on conflict do nothing",
        params![package, version],
    )
    .await?;
    Ok(())
}

/// Adds a job template to a version.
pub async fn add_template(
    db: &dyn Connection,
    version: ReleaseVersionId,
    template: TemplateId,
) -> Result<(), Error> {
    db.execute(
        "insert into release_versions_templates (template_id, release_version_id) \
         values ($1, $2) on conflict do nothing",
        params![template, version],
    )
    .await?;
    Ok(())
}

/// The names of the deployments that use a version, sorted.
pub async fn deployments_using(
    db: &dyn Connection,
    id: ReleaseVersionId,
) -> Result<Vec<String>, Error> {
    column(
        db,
        "select d.name from deployments d \
         join deployments_release_versions u on u.deployment_id = d.id \
         where u.release_version_id = $1 order by d.name",
        params![id],
    )
    .await
}

/// Which release versions some deployment uses.
pub async fn versions_in_use(db: &dyn Connection) -> Result<Vec<ReleaseVersionId>, Error> {
    column(
        db,
        "select distinct release_version_id from deployments_release_versions",
        vec![],
    )
    .await
}

/// Deletes a version and its joins; packages and templates stay for the caller
/// to look at.
pub async fn delete_version(db: &dyn Connection, id: ReleaseVersionId) -> Result<(), Error> {
    for table in ["packages_release_versions", "release_versions_templates"] {
        db.execute(
            &format!("delete from {table} where release_version_id = $1"),
            params![id],
        )
        .await?;
    }
    db.execute("delete from release_versions where id = $1", params![id])
        .await?;
    Ok(())
}

/// Deletes a release that has no versions left.
pub async fn delete(db: &dyn Connection, id: ReleaseId) -> Result<(), Error> {
    db.execute("delete from releases where id = $1", params![id])
        .await?;
    Ok(())
}
