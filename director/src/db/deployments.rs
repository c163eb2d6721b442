//! Deployments and what they use: releases, stemcells, configs, teams.

use std::collections::HashMap;

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, column, first, insert_many, one, params};
use super::row::{ConfigId, DeploymentId, ReleaseVersionId, StemcellId, TeamId};

/// A row of `deployments`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Deployment {
    /// Primary key.
    pub id: DeploymentId,
    /// The name in the manifest.
    pub name: String,
    /// The last successful deploy's manifest, with versions resolved.
    pub manifest: Option<String>,
    /// The last successful deploy's manifest as the user wrote it.
    pub manifest_text: Option<String>,
    /// Errands' links must be computed anew before they run.
    pub has_stale_errand_links: bool,
    /// Grows with each deploy; marks the links it touched.
    pub links_serial_id: Option<i32>,
}

/// A release version as `GET /deployments` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, FromQueryResult)]
pub struct UsedRelease {
    /// Whose.
    pub deployment_id: DeploymentId,
    /// The release version's row.
    pub release_version_id: ReleaseVersionId,
    /// The release's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A stemcell as `GET /deployments` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, FromQueryResult)]
pub struct UsedStemcell {
    /// Whose.
    pub deployment_id: DeploymentId,
    /// The stemcell's row.
    pub stemcell_id: StemcellId,
    /// The stemcell's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

#[derive(FromQueryResult)]
struct Team {
    deployment_id: DeploymentId,
    name: String,
}

/// The deployment of that name.
pub async fn find(db: &dyn Connection, name: &str) -> Result<Option<Deployment>, Error> {
    first(
        db,
        "select * from deployments where name = $1",
        params![name],
    )
    .await
}

/// The deployment with that key.
pub async fn get(db: &dyn Connection, id: DeploymentId) -> Result<Option<Deployment>, Error> {
    first(db, "select * from deployments where id = $1", params![id]).await
}

/// All deployments by name.
pub async fn list(db: &dyn Connection) -> Result<Vec<Deployment>, Error> {
    all(db, "select * from deployments order by name", vec![]).await
}

/// The names of all deployments, sorted.
pub async fn names(db: &dyn Connection) -> Result<Vec<String>, Error> {
    column(db, "select name from deployments order by name", vec![]).await
}

/// The deployment of that name, made if need be.
pub async fn find_or_create(db: &dyn Connection, name: &str) -> Result<Deployment, Error> {
    db.execute(
        "insert into deployments (name) values ($1) on conflict (name) do nothing",
        params![name],
    )
    .await?;
    one(
        db,
        "select * from deployments where name = $1",
        params![name],
    )
    .await
}

/// Records what a finished deploy deployed.
pub async fn set_manifest(
    db: &dyn Connection,
    id: DeploymentId,
    manifest: &str,
    manifest_text: &str,
) -> Result<(), Error> {
    db.execute(
        "update deployments set manifest = $1, manifest_text = $2 where id = $3",
        params![manifest, manifest_text, id],
    )
    .await?;
    Ok(())
}

/// Counts a deploy's pass over the links; the new serial.
pub async fn next_links_serial(db: &dyn Connection, id: DeploymentId) -> Result<i32, Error> {
    let serial: Option<Option<i32>> = super::connection::scalar(
        db,
        "update deployments set links_serial_id = coalesce(links_serial_id, 0) + 1 \
         where id = $1 returning links_serial_id",
        params![id],
    )
    .await?;
    Ok(serial.flatten().unwrap_or(1))
}

/// Marks that errands' links need computing (or no longer do).
pub async fn set_stale_errand_links(
    db: &dyn Connection,
    id: DeploymentId,
    stale: bool,
) -> Result<(), Error> {
    db.execute(
        "update deployments set has_stale_errand_links = $1 where id = $2",
        params![stale, id],
    )
    .await?;
    Ok(())
}

/// Replaces the set of release versions in use.
pub async fn set_release_versions(
    db: &dyn Connection,
    id: DeploymentId,
    versions: &[ReleaseVersionId],
) -> Result<(), Error> {
    db.execute(
        "delete from deployments_release_versions where deployment_id = $1",
        params![id],
    )
    .await?;
    add_release_versions(db, id, versions).await
}

/// Adds release versions to those in use.
pub async fn add_release_versions(
    db: &dyn Connection,
    id: DeploymentId,
    versions: &[ReleaseVersionId],
) -> Result<(), Error> {
    insert_many(
        db,
        "deployments_release_versions (deployment_id, release_version_id)",
        versions
            .iter()
            .map(|version| params![id, *version])
            .collect(),
        "on conflict do nothing",
    )
    .await
}

/// Replaces the set of stemcells in use.
pub async fn set_stemcells(
    db: &dyn Connection,
    id: DeploymentId,
    stemcells: &[StemcellId],
) -> Result<(), Error> {
    db.execute(
        "delete from deployments_stemcells where deployment_id = $1",
        params![id],
    )
    .await?;
    add_stemcells(db, id, stemcells).await
}

/// Adds stemcells to those in use.
pub async fn add_stemcells(
    db: &dyn Connection,
    id: DeploymentId,
    stemcells: &[StemcellId],
) -> Result<(), Error> {
    insert_many(
        db,
        "deployments_stemcells (deployment_id, stemcell_id)",
        stemcells
            .iter()
            .map(|stemcell| params![id, *stemcell])
            .collect(),
        "on conflict do nothing",
    )
    .await
}

/// Replaces the cloud and runtime configs that were deployed with.
pub async fn set_configs(
    db: &dyn Connection,
    id: DeploymentId,
    configs: &[ConfigId],
) -> Result<(), Error> {
    db.execute(
        "delete from deployments_configs where deployment_id = $1",
        params![id],
    )
    .await?;
    insert_many(
        db,
        "deployments_configs (deployment_id, config_id)",
        configs.iter().map(|config| params![id, *config]).collect(),
        "on conflict do nothing",
    )
    .await
}

/// Ids of the configs of one type that the deployment was deployed with.
pub async fn config_ids(
    db: &dyn Connection,
    id: DeploymentId,
    kind: &str,
) -> Result<Vec<ConfigId>, Error> {
    column(
        db,
        "select c.id from configs c join deployments_configs d on d.config_id = c.id \
         where d.deployment_id = $1 and c.type = $2 order by c.id",
        params![id, kind],
    )
    .await
}

/// Ids of the deployed configs of one type, of all deployments.
pub async fn all_config_ids(
    db: &dyn Connection,
    kind: &str,
) -> Result<HashMap<DeploymentId, Vec<ConfigId>>, Error> {
    let rows: Vec<(DeploymentId, ConfigId)> = super::connection::pairs(
        db,
        "select d.deployment_id, c.id from configs c \
         join deployments_configs d on d.config_id = c.id where c.type = $1 order by c.id",
        params![kind],
    )
    .await?;
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for (deployment, config) in rows {
        map.entry(deployment).or_default().push(config);
    }
    Ok(map)
}

/// The newest id of each config name of a type that is not deleted.
pub async fn latest_config_ids(db: &dyn Connection, kind: &str) -> Result<Vec<ConfigId>, Error> {
    column(
        db,
        "select max(id) from configs where type = $1 and deleted = $2 group by name order by 1",
        params![kind, false],
    )
    .await
}

/// Release versions in use, of one deployment or of all.
pub async fn releases(
    db: &dyn Connection,
    id: Option<DeploymentId>,
) -> Result<Vec<UsedRelease>, Error> {
    let (filter, values) = only(id);
    let sql = format!(
        "select d.deployment_id, v.id as release_version_id, r.name, v.version \
         from deployments_release_versions d \
         join release_versions v on v.id = d.release_version_id \
         join releases r on r.id = v.release_id {filter} order by r.name, v.version"
    );
    all(db, &sql, values).await
}

/// Stemcells in use, of one deployment or of all.
pub async fn stemcells(
    db: &dyn Connection,
    id: Option<DeploymentId>,
) -> Result<Vec<UsedStemcell>, Error> {
    let (filter, values) = only(id);
    let sql = format!(
        "select d.deployment_id, s.id as stemcell_id, s.name, s.version \
         from deployments_stemcells d join stemcells s on s.id = d.stemcell_id {filter} \
         order by s.name, s.version"
    );
    all(db, &sql, values).await
}

/// The names of the teams of each deployment.
pub async fn teams(db: &dyn Connection) -> Result<HashMap<DeploymentId, Vec<String>>, Error> {
    let rows: Vec<Team> = all(
        db,
        "select d.deployment_id, t.name from deployments_teams d \
         join teams t on t.id = d.team_id order by t.name",
        vec![],
    )
    .await?;
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        map.entry(row.deployment_id).or_default().push(row.name);
    }
    Ok(map)
}

/// Gives the deployment to these teams.
pub async fn set_teams(
    db: &dyn Connection,
    id: DeploymentId,
    teams: &[TeamId],
) -> Result<(), Error> {
    db.execute(
        "delete from deployments_teams where deployment_id = $1",
        params![id],
    )
    .await?;
    insert_many(
        db,
        "deployments_teams (deployment_id, team_id)",
        teams.iter().map(|team| params![id, *team]).collect(),
        "",
    )
    .await
}

/// Deletes the deployment and what only describes it. Its instances must be
/// gone already.
pub async fn delete(db: &dyn Connection, id: DeploymentId) -> Result<(), Error> {
    for table in [
        "deployments_stemcells",
        "deployments_release_versions",
        "deployments_configs",
        "deployments_networks",
        "deployments_teams",
        "deployment_problems",
        "deployment_properties",
        "errand_runs",
        "link_consumers",
        "link_providers",
        "local_dns_aliases",
        "local_dns_encoded_groups",
        "variable_sets",
    ] {
        db.execute(
            &format!("delete from {table} where deployment_id = $1"),
            params![id],
        )
        .await?;
    }
    db.execute("delete from deployments where id = $1", params![id])
        .await?;
    Ok(())
}

fn only(id: Option<DeploymentId>) -> (&'static str, Vec<sea_orm::Value>) {
    match id {
        Some(id) => ("where d.deployment_id = $1", params![id]),
        None => ("", vec![]),
    }
}

/// A config that a deployment was deployed with.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct UsedConfig {
    /// Whose.
    pub deployment_id: DeploymentId,
    /// The deployment's name.
    pub deployment: String,
    /// The config.
    pub config_id: ConfigId,
    /// Its type.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The configs that all deployments were deployed with.
pub async fn configs_in_use(db: &dyn Connection) -> Result<Vec<UsedConfig>, Error> {
    all(
        db,
        "select u.deployment_id, d.name as deployment, u.config_id, c.type, c.name \
         from deployments_configs u join deployments d on d.id = u.deployment_id \
         join configs c on c.id = u.config_id order by d.name, c.type, c.id",
        vec![],
    )
    .await
}
