//! Packages of releases, as source and compiled.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, Update, all, first, in_list, one, params, scalar};
use super::row::{CompiledPackageId, PackageId, ReleaseId, ReleaseVersionId};

/// A row of `packages`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Package {
    /// Primary key.
    pub id: PackageId,
    /// Its name.
    pub name: String,
    /// Its version: its fingerprint, with today's CLI.
    pub version: String,
    /// The source's blob; `None` when it came compiled only.
    pub blobstore_id: Option<String>,
    /// The source's digest (may be a multi-digest).
    pub sha1: Option<String>,
    /// A JSON list of names.
    pub dependency_set_json: String,
    /// Whose.
    pub release_id: ReleaseId,
    /// What it was made of, digested.
    pub fingerprint: Option<String>,
}

impl Package {
    /// The names of the packages it needs, sorted as the release gave them.
    pub fn dependencies(&self) -> Vec<String> {
        serde_json::from_str(&self.dependency_set_json).unwrap_or_default()
    }

    /// Whether its source is there.
    pub fn has_source(&self) -> bool {
        self.sha1.is_some() || self.blobstore_id.is_some()
    }

    /// `name/version`.
    pub fn desc(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

/// A package to insert.
#[derive(Debug, Clone)]
pub struct NewPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// The names of the packages it needs.
    pub dependencies: Vec<String>,
    /// Whose.
    pub release_id: ReleaseId,
    /// The source's blob and digest, unless it comes compiled.
    pub source: Option<(String, String)>,
}

/// A row of `compiled_packages`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct CompiledPackage {
    /// Primary key.
    pub id: CompiledPackageId,
    /// The blob.
    pub blobstore_id: String,
    /// Its digest (may be a multi-digest).
    pub sha1: String,
    /// JSON list of `[name, version]` of everything it was compiled with.
    pub dependency_key: String,
    /// Counts up per package and stemcell.
    pub build: i32,
    /// What was compiled.
    pub package_id: PackageId,
    /// SHA-1 of the dependency key.
    pub dependency_key_sha1: String,
    /// The operating system it was compiled for.
    pub stemcell_os: Option<String>,
    /// The stemcell version it was compiled for.
    pub stemcell_version: Option<String>,
}

/// A compiled package to insert.
#[derive(Debug, Clone)]
pub struct NewCompiledPackage {
    /// What was compiled.
    pub package_id: PackageId,
    /// The blob.
    pub blobstore_id: String,
    /// Its digest.
    pub sha1: String,
    /// What it was compiled with.
    pub dependency_key: String,
    /// The operating system it was compiled for.
    pub stemcell_os: String,
    /// The stemcell version it was compiled for.
    pub stemcell_version: String,
}

/// The package with that key.
pub async fn get(db: &dyn Connection, id: PackageId) -> Result<Option<Package>, Error> {
    first(db, "select * from packages where id = $1", params![id]).await
}

/// The packages of a release version, by name.
pub async fn by_release_version(
    db: &dyn Connection,
    id: ReleaseVersionId,
) -> Result<Vec<Package>, Error> {
    all(
        db,
        "select p.* from packages p \
         join packages_release_versions j on j.package_id = p.id \
         where j.release_version_id = $1 order by p.name",
        params![id],
    )
    .await
}

/// All packages of a release, in any version.
pub async fn by_release(db: &dyn Connection, id: ReleaseId) -> Result<Vec<Package>, Error> {
    all(
        db,
        "select * from packages where release_id = $1 order by name, id",
        params![id],
    )
    .await
}

/// Packages with one of these fingerprints, of any release, that have source.
pub async fn with_source_by_fingerprint(
    db: &dyn Connection,
    fingerprints: &[String],
) -> Result<Vec<Package>, Error> {
    let mut found = Vec::new();
    for chunk in fingerprints.chunks(500) {
        let mut values = Vec::new();
        let list = in_list(&mut values, chunk.iter().cloned());
        let sql = format!(
            "select * from packages where fingerprint in {list} and sha1 is not null \
             and blobstore_id is not null order by id"
        );
        found.extend(all::<Package>(db, &sql, values).await?);
    }
    Ok(found)
}

/// Packages with one of these fingerprints, of any release.
pub async fn by_fingerprint(
    db: &dyn Connection,
    fingerprints: &[String],
) -> Result<Vec<Package>, Error> {
    let mut found = Vec::new();
    for chunk in fingerprints.chunks(500) {
        let mut values = Vec::new();
        let list = in_list(&mut values, chunk.iter().cloned());
        let sql = format!("select * from packages where fingerprint in {list} order by id");
        found.extend(all::<Package>(db, &sql, values).await?);
    }
    Ok(found)
}

/// Inserts a package.
pub async fn create(db: &dyn Connection, new: NewPackage) -> Result<Package, Error> {
    let (blobstore_id, sha1) = new.source.unzip();
    one(
        db,
        "insert into packages (name, version, blobstore_id, sha1, dependency_set_json, \
         release_id, fingerprint) values ($1, $2, $3, $4, $5, $6, $7) returning *",
        params![
            new.name,
            new.version,
            blobstore_id,
            sha1,
            serde_json::Value::from(new.dependencies).to_string(),
            new.release_id,
            new.fingerprint
        ],
    )
    .await
}

/// Gives a package its source (it came compiled before, or is being fixed).
pub async fn set_source(
    db: &dyn Connection,
    id: PackageId,
    blobstore_id: &str,
    sha1: &str,
) -> Result<(), Error> {
    Update::new()
        .set("blobstore_id", Some(blobstore_id))
        .set("sha1", Some(sha1))
        .by_id(db, "packages", id)
        .await
}

/// Sets the fingerprint of a package that was uploaded without.
pub async fn set_fingerprint(
    db: &dyn Connection,
    id: PackageId,
    fingerprint: &str,
) -> Result<(), Error> {
    Update::new()
        .set("fingerprint", Some(fingerprint))
        .by_id(db, "packages", id)
        .await
}

/// Packages of a release that no version has any more.
pub async fn unused(db: &dyn Connection, id: ReleaseId) -> Result<Vec<Package>, Error> {
    all(
        db,
        "select * from packages p where p.release_id = $1 and not exists \
         (select 1 from packages_release_versions j where j.package_id = p.id)",
        params![id],
    )
    .await
}

/// Deletes a package; its compiled packages must be gone.
pub async fn delete(db: &dyn Connection, id: PackageId) -> Result<(), Error> {
    db.execute(
        "delete from packages_release_versions where package_id = $1",
        params![id],
    )
    .await?;
    db.execute("delete from packages where id = $1", params![id])
        .await?;
    Ok(())
}

/// Everything compiled from these packages.
pub async fn compiled_for(
    db: &dyn Connection,
    packages: &[PackageId],
) -> Result<Vec<CompiledPackage>, Error> {
    let mut found = Vec::new();
    for chunk in packages.chunks(500) {
        let mut values = Vec::new();
        let list = in_list(&mut values, chunk.iter().copied());
        let sql = format!("select * from compiled_packages where package_id in {list} order by id");
        found.extend(all::<CompiledPackage>(db, &sql, values).await?);
    }
    Ok(found)
}

/// What was compiled from this package, with those dependencies, for that stemcell.
pub async fn find_compiled(
    db: &dyn Connection,
    package: PackageId,
    stemcell_os: &str,
    stemcell_version: &str,
    dependency_key: &str,
) -> Result<Option<CompiledPackage>, Error> {
    first(
        db,
        "select * from compiled_packages where package_id = $1 and stemcell_os = $2 \
         and stemcell_version = $3 and dependency_key_sha1 = $4",
        params![
            package,
            stemcell_os,
            stemcell_version,
            sha1_hex(dependency_key)
        ],
    )
    .await
}

/// Inserts a compiled package with the next build number.
pub async fn create_compiled(
    db: &dyn Connection,
    new: NewCompiledPackage,
) -> Result<CompiledPackage, Error> {
    let digest = sha1_hex(&new.dependency_key);
    one(
        db,
        "insert into compiled_packages (blobstore_id, sha1, dependency_key, build, package_id, \
         dependency_key_sha1, stemcell_os, stemcell_version) \
         values ($1, $2, $3, (select coalesce(max(build), 0) + 1 from compiled_packages \
         where package_id = $4 and stemcell_os = $6 and stemcell_version = $7), \
         $4, $5, $6, $7) returning *",
        params![
            new.blobstore_id,
            new.sha1,
            new.dependency_key,
            new.package_id,
            digest,
            new.stemcell_os,
            new.stemcell_version
        ],
    )
    .await
}

/// Replaces the blob of a compiled package (upload with `fix`).
pub async fn set_compiled_blob(
    db: &dyn Connection,
    id: CompiledPackageId,
    blobstore_id: &str,
    sha1: &str,
) -> Result<(), Error> {
    Update::new()
        .set("blobstore_id", Some(blobstore_id))
        .set("sha1", Some(sha1))
        .by_id(db, "compiled_packages", id)
        .await
}

/// Deletes a compiled package's row.
pub async fn delete_compiled(db: &dyn Connection, id: CompiledPackageId) -> Result<(), Error> {
    db.execute("delete from compiled_packages where id = $1", params![id])
        .await?;
    Ok(())
}

/// How many compiled packages are for this stemcell.
pub async fn count_compiled_for_stemcell(
    db: &dyn Connection,
    stemcell_os: &str,
    stemcell_version: &str,
) -> Result<i64, Error> {
    let count = scalar(
        db,
        "select count(*) from compiled_packages where stemcell_os = $1 and stemcell_version = $2",
        params![stemcell_os, stemcell_version],
    )
    .await?;
    Ok(count.unwrap_or(0))
}

/// Compiled packages for a stemcell.
pub async fn compiled_for_stemcell(
    db: &dyn Connection,
    stemcell_os: &str,
    stemcell_version: &str,
) -> Result<Vec<CompiledPackage>, Error> {
    all(
        db,
        "select * from compiled_packages where stemcell_os = $1 and stemcell_version = $2 \
         order by id",
        params![stemcell_os, stemcell_version],
    )
    .await
}

fn sha1_hex(text: &str) -> String {
    use sha1::Digest as _;
    sha1::Sha1::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether a package or compiled package has this blob.
pub async fn has_blob(db: &dyn Connection, blobstore_id: &str) -> Result<bool, Error> {
    let found: Option<i32> = scalar(
        db,
        "select id from packages where blobstore_id = $1 union all \
         select id from compiled_packages where blobstore_id = $1 limit 1",
        params![blobstore_id],
    )
    .await?;
    Ok(found.is_some())
}

/// Everything compiled, with the package's name.
pub async fn all_compiled(db: &dyn Connection) -> Result<Vec<(String, CompiledPackage)>, Error> {
    let names: std::collections::HashMap<PackageId, String> =
        super::connection::pairs(db, "select id, name from packages", vec![])
            .await?
            .into_iter()
            .collect();
    let compiled: Vec<CompiledPackage> =
        all(db, "select * from compiled_packages order by id", vec![]).await?;
    Ok(compiled
        .into_iter()
        .map(|compiled| {
            (
                names.get(&compiled.package_id).cloned().unwrap_or_default(),
                compiled,
            )
        })
        .collect())
}
