//! Stemcells, one row per CPI that has the image.

use std::collections::HashMap;

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, Update, all, column, first, one, pairs, params};
use super::row::StemcellId;

/// A row of `stemcells`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Stemcell {
    /// Primary key.
    pub id: StemcellId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The cloud's id of the image.
    pub cid: String,
    /// The image's digest.
    pub sha1: Option<String>,
    /// Such as `ubuntu-noble`.
    pub operating_system: Option<String>,
    /// The CPI that has it.
    pub cpi: Option<String>,
    /// What its agent understands.
    pub api_version: Option<i32>,
}

impl Stemcell {
    /// `name/version`.
    pub fn desc(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }

    /// The operating system; the name for stemcells that do not say.
    pub fn os(&self) -> &str {
        self.operating_system.as_deref().unwrap_or(&self.name)
    }
}

/// A stemcell to insert.
#[derive(Debug, Clone)]
pub struct NewStemcell {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The cloud's id of the image.
    pub cid: String,
    /// The image's digest.
    pub sha1: Option<String>,
    /// Such as `ubuntu-noble`.
    pub operating_system: String,
    /// The CPI that has it.
    pub cpi: String,
    /// What its agent understands.
    pub api_version: Option<i32>,
}

/// All stemcells by name and version.
pub async fn list(db: &dyn Connection) -> Result<Vec<Stemcell>, Error> {
    all(
        db,
        "select * from stemcells order by name, version, cpi",
        vec![],
    )
    .await
}

/// The stemcell with that key.
pub async fn get(db: &dyn Connection, id: StemcellId) -> Result<Option<Stemcell>, Error> {
    first(db, "select * from stemcells where id = $1", params![id]).await
}

/// All rows of one stemcell: one per CPI.
pub async fn find(db: &dyn Connection, name: &str, version: &str) -> Result<Vec<Stemcell>, Error> {
    all(
        db,
        "select * from stemcells where name = $1 and version = $2 order by cpi",
        params![name, version],
    )
    .await
}

/// One stemcell on one CPI.
pub async fn find_on(
    db: &dyn Connection,
    name: &str,
    version: &str,
    cpi: &str,
) -> Result<Option<Stemcell>, Error> {
    first(
        db,
        "select * from stemcells where name = $1 and version = $2 and cpi = $3",
        params![name, version, cpi],
    )
    .await
}

/// Inserts a stemcell.
pub async fn create(db: &dyn Connection, new: NewStemcell) -> Result<Stemcell, Error> {
    one(
        db,
        "insert into stemcells (name, version, cid, sha1, operating_system, cpi, api_version) \
         values ($1, $2, $3, $4, $5, $6, $7) returning *",
        params![
            new.name,
            new.version,
            new.cid,
            new.sha1,
            new.operating_system,
            new.cpi,
            new.api_version
        ],
    )
    .await
}

/// Replaces the image (upload with `fix`).
pub async fn set_image(
    db: &dyn Connection,
    id: StemcellId,
    cid: &str,
    sha1: Option<&str>,
    api_version: Option<i32>,
) -> Result<(), Error> {
    Update::new()
        .set("cid", Some(cid))
        .set("sha1", sha1)
        .set("api_version", api_version)
        .by_id(db, "stemcells", id)
        .await
}

/// The names of the deployments that use each stemcell.
pub async fn deployments_using(
    db: &dyn Connection,
) -> Result<HashMap<StemcellId, Vec<String>>, Error> {
    let rows: Vec<(StemcellId, String)> = pairs(
        db,
        "select u.stemcell_id, d.name from deployments d \
         join deployments_stemcells u on u.deployment_id = d.id order by d.name",
        vec![],
    )
    .await?;
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for (stemcell, name) in rows {
        map.entry(stemcell).or_default().push(name);
    }
    Ok(map)
}

/// Deletes the row.
pub async fn delete(db: &dyn Connection, id: StemcellId) -> Result<(), Error> {
    db.execute("delete from stemcells where id = $1", params![id])
        .await?;
    Ok(())
}

/// Notes that a CPI's upload of a stemcell was asked for.
pub async fn add_upload(
    db: &dyn Connection,
    name: &str,
    version: &str,
    cpi: &str,
) -> Result<(), Error> {
    db.execute(
        "insert into stemcell_uploads (name, version, cpi) values ($1, $2, $3) \
         on conflict do nothing",
        params![name, version, cpi],
    )
    .await?;
    Ok(())
}

/// The CPIs that a stemcell's upload was asked for.
pub async fn uploads(db: &dyn Connection, name: &str, version: &str) -> Result<Vec<String>, Error> {
    column(
        db,
        "select cpi from stemcell_uploads where name = $1 and version = $2 order by cpi",
        params![name, version],
    )
    .await
}

/// Forgets the uploads of a stemcell to a CPI.
pub async fn delete_upload(
    db: &dyn Connection,
    name: &str,
    version: &str,
    cpi: &str,
) -> Result<(), Error> {
    db.execute(
        "delete from stemcell_uploads where name = $1 and version = $2 and cpi = $3",
        params![name, version, cpi],
    )
    .await?;
    Ok(())
}
