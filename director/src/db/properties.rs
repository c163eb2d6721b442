//! Properties of deployments that are set apart from their manifests.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, first, params};
use super::row::DeploymentId;

/// A row of `deployment_properties`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The properties of a deployment, by name.
pub async fn list(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Property>, Error> {
    all(
        db,
        "select name, value from deployment_properties where deployment_id = $1 order by name",
        params![id],
    )
    .await
}

/// The property of that name.
pub async fn find(
    db: &dyn Connection,
    id: DeploymentId,
    name: &str,
) -> Result<Option<Property>, Error> {
    first(
        db,
        "select name, value from deployment_properties where deployment_id = $1 and name = $2",
        params![id, name],
    )
    .await
}

/// Inserts a property; whether there was none of that name.
pub async fn create(
    db: &dyn Connection,
    id: DeploymentId,
    property: &Property,
) -> Result<bool, Error> {
    let inserted = db
        .execute(
            "insert into deployment_properties (deployment_id, name, value) values ($1, $2, $3) \
             on conflict do nothing",
            params![id, property.name.clone(), property.value.clone()],
        )
        .await?;
    Ok(inserted > 0)
}

/// Changes a property; whether there was one of that name.
pub async fn update(
    db: &dyn Connection,
    id: DeploymentId,
    property: &Property,
) -> Result<bool, Error> {
    let updated = db
        .execute(
            "update deployment_properties set value = $3 where deployment_id = $1 and name = $2",
            params![id, property.name.clone(), property.value.clone()],
        )
        .await?;
    Ok(updated > 0)
}

/// Deletes a property; whether there was one of that name.
pub async fn delete(db: &dyn Connection, id: DeploymentId, name: &str) -> Result<bool, Error> {
    let deleted = db
        .execute(
            "delete from deployment_properties where deployment_id = $1 and name = $2",
            params![id, name],
        )
        .await?;
    Ok(deleted > 0)
}
