//! Which blobs anything refers to.

use std::collections::HashSet;

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, params};

#[derive(FromQueryResult)]
struct Referred {
    blobstore_id: String,
}

/// The blobs that some row names.
pub async fn referred_to(db: &dyn Connection) -> Result<HashSet<String>, Error> {
    let rows: Vec<Referred> = all(
        db,
        "select blobstore_id from packages where blobstore_id is not null \
         union select blobstore_id from compiled_packages \
         union select blobstore_id from templates \
         union select blobstore_id from rendered_templates_archives \
         union select blobstore_id from blobs \
         union select blobstore_id from log_bundles",
        params![],
    )
    .await?;
    Ok(rows.into_iter().map(|row| row.blobstore_id).collect())
}
