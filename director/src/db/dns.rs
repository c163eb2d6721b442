//! The records that agents resolve names from, the numbers that stand for
//! names in queries, and who has which version.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, first, insert_many, one, pairs, params, scalar};
use super::row::{BlobId, DeploymentId, InstanceId, Timestamp};

/// A row of `local_dns_records`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Record {
    /// Primary key; the greatest one is the records' version.
    pub id: i64,
    /// The address.
    pub ip: String,
    /// The availability zone.
    pub az: Option<String>,
    /// The instance group.
    pub instance_group: Option<String>,
    /// The network.
    pub network: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
    /// Whose; a row without one stands for deleted records.
    pub instance_id: Option<InstanceId>,
    /// The agent.
    pub agent_id: Option<String>,
    /// The root domain.
    pub domain: Option<String>,
    /// JSON list of the links it serves.
    pub links_json: Option<String>,
}

/// A record to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The address.
    pub ip: String,
    /// The availability zone.
    pub az: Option<String>,
    /// The instance group.
    pub instance_group: Option<String>,
    /// The network.
    pub network: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
    /// Whose.
    pub instance_id: Option<InstanceId>,
    /// The agent.
    pub agent_id: Option<String>,
    /// The root domain.
    pub domain: Option<String>,
    /// JSON list of the links it serves.
    pub links_json: Option<String>,
}

/// A record with the uuid of its instance, as the blob needs it.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct InstanceRecord {
    /// Primary key.
    pub id: i64,
    /// The instance's uuid.
    pub uuid: Option<String>,
    /// The instance's number.
    pub index: i32,
    /// The address.
    pub ip: String,
    /// The availability zone.
    pub az: Option<String>,
    /// The instance group.
    pub instance_group: Option<String>,
    /// The network.
    pub network: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
    /// The agent.
    pub agent_id: Option<String>,
    /// The root domain.
    pub domain: Option<String>,
    /// JSON list of the links it serves.
    pub links_json: Option<String>,
}

/// A row of `local_dns_aliases`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Alias {
    /// The name.
    pub domain: Option<String>,
    /// Which instances by health.
    pub health_filter: Option<String>,
    /// How to begin.
    pub initial_health_check: Option<String>,
    /// The group's number.
    pub group_id: Option<String>,
    /// Such as `uuid`.
    pub placeholder_type: Option<String>,
}

/// A row of `local_dns_blobs`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct DnsBlob {
    /// Primary key.
    pub id: i64,
    /// The row of the blob.
    pub blob_id: Option<BlobId>,
    /// What agents compare.
    pub version: Option<i64>,
    /// Made when.
    pub created_at: Option<Timestamp>,
    /// The version of the records in it.
    pub records_version: i32,
    /// The version of the aliases in it.
    pub aliases_version: i32,
}

/// Replaces the records of an instance when they differ; whether they did.
/// Use a transaction.
pub async fn set_records(
    db: &dyn Connection,
    instance: InstanceId,
    records: &[NewRecord],
) -> Result<bool, Error> {
    let current: Vec<Record> = all(
        db,
        "select * from local_dns_records where instance_id = $1 order by id",
        params![instance],
    )
    .await?;
    let same = current.len() == records.len()
        && records.iter().all(|new| {
            current.iter().any(|old| {
                old.ip == new.ip
                    && old.az == new.az
                    && old.instance_group == new.instance_group
                    && old.network == new.network
                    && old.deployment == new.deployment
                    && old.agent_id == new.agent_id
                    && old.domain == new.domain
                    && old.links_json == new.links_json
            })
        });
    if same {
        return Ok(false);
    }
    db.execute(
        "delete from local_dns_records where instance_id = $1",
        params![instance],
    )
    .await?;
    insert_many(
        db,
        "local_dns_records (ip, az, instance_group, network, deployment, instance_id, agent_id, \
         domain, links_json)",
        records
            .iter()
            .cloned()
            .map(|new| {
                params![
                    new.ip,
                    new.az,
                    new.instance_group,
                    new.network,
                    new.deployment,
                    instance,
                    new.agent_id,
                    new.domain,
                    new.links_json
                ]
            })
            .collect(),
        "",
    )
    .await?;
    Ok(true)
}

/// Deletes the records of an instance; leaves a tombstone, so that the
/// version grows. Use a transaction.
pub async fn delete_records(db: &dyn Connection, instance: InstanceId) -> Result<(), Error> {
    let deleted = db
        .execute(
            "delete from local_dns_records where instance_id = $1",
            params![instance],
        )
        .await?;
    if deleted > 0 {
        db.execute(
            "insert into local_dns_records (ip) values ($1)",
            params![format!("{}-tombstone", uuid::Uuid::new_v4())],
        )
        .await?;
    }
    Ok(())
}

/// All records of instances, by id.
pub async fn records(db: &dyn Connection) -> Result<Vec<InstanceRecord>, Error> {
    all(
        db,
        "select r.id, i.uuid, i.\"index\", r.ip, r.az, r.instance_group, r.network, r.deployment, \
         r.agent_id, r.domain, r.links_json from local_dns_records r \
         join instances i on i.id = r.instance_id order by r.id",
        vec![],
    )
    .await
}

/// The version of the records: the greatest id there is.
pub async fn records_version(db: &dyn Connection) -> Result<i64, Error> {
    let version: Option<Option<i64>> =
        scalar(db, "select max(id) from local_dns_records", vec![]).await?;
    Ok(version.flatten().unwrap_or(0))
}

/// The version of the aliases: the greatest id there is.
pub async fn aliases_version(db: &dyn Connection) -> Result<i32, Error> {
    let version: Option<Option<i32>> =
        scalar(db, "select max(id) from local_dns_aliases", vec![]).await?;
    Ok(version.flatten().unwrap_or(0))
}

/// All aliases.
pub async fn aliases(db: &dyn Connection) -> Result<Vec<Alias>, Error> {
    all(
        db,
        "select domain, health_filter, initial_health_check, group_id, placeholder_type \
         from local_dns_aliases order by id",
        vec![],
    )
    .await
}

/// The aliases of a deployment.
pub async fn deployment_aliases(
    db: &dyn Connection,
    id: DeploymentId,
) -> Result<Vec<Alias>, Error> {
    all(
        db,
        "select domain, health_filter, initial_health_check, group_id, placeholder_type \
         from local_dns_aliases where deployment_id = $1 order by id",
        params![id],
    )
    .await
}

/// Replaces the aliases of a deployment. Use a transaction.
pub async fn set_aliases(
    db: &dyn Connection,
    deployment: DeploymentId,
    aliases: &[Alias],
) -> Result<(), Error> {
    db.execute(
        "delete from local_dns_aliases where deployment_id = $1",
        params![deployment],
    )
    .await?;
    insert_many(
        db,
        "local_dns_aliases (deployment_id, domain, health_filter, initial_health_check, group_id, \
         placeholder_type)",
        aliases
            .iter()
            .cloned()
            .map(|alias| {
                params![
                    deployment,
                    alias.domain,
                    alias.health_filter,
                    alias.initial_health_check,
                    alias.group_id,
                    alias.placeholder_type
                ]
            })
            .collect(),
        "",
    )
    .await
}

/// Numbers these availability zones.
pub async fn encode_azs(db: &dyn Connection, names: &[String]) -> Result<(), Error> {
    let rows = names.iter().map(|name| params![name.clone()]).collect();
    insert_many(
        db,
        "local_dns_encoded_azs (name)",
        rows,
        "on conflict do nothing",
    )
    .await
}

/// Numbers these networks.
pub async fn encode_networks(db: &dyn Connection, names: &[String]) -> Result<(), Error> {
    let rows = names.iter().map(|name| params![name.clone()]).collect();
    insert_many(
        db,
        "local_dns_encoded_networks (name)",
        rows,
        "on conflict do nothing",
    )
    .await
}

/// Numbers these groups of a deployment; `kind` is `instance-group` or `link`.
pub async fn encode_groups(
    db: &dyn Connection,
    deployment: DeploymentId,
    groups: &[(String, String)],
) -> Result<(), Error> {
    let rows = groups
        .iter()
        .map(|(name, kind)| params![name.clone(), deployment, kind.clone()])
        .collect();
    insert_many(
        db,
        "local_dns_encoded_groups (name, deployment_id, type)",
        rows,
        "on conflict do nothing",
    )
    .await
}

/// `(number, name)` of the availability zones.
pub async fn azs(db: &dyn Connection) -> Result<Vec<(i32, String)>, Error> {
    pairs(
        db,
        "select id, name from local_dns_encoded_azs order by id",
        vec![],
    )
    .await
}

/// `(number, name)` of the networks.
pub async fn networks(db: &dyn Connection) -> Result<Vec<(i32, String)>, Error> {
    pairs(
        db,
        "select id, name from local_dns_encoded_networks order by id",
        vec![],
    )
    .await
}

/// A row of `local_dns_encoded_groups`, with the deployment's name.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Group {
    /// The number.
    pub id: i32,
    /// The group's or link's name.
    pub name: String,
    /// `instance-group` or `link`.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// The deployment's name.
    pub deployment: String,
}

/// All groups.
pub async fn groups(db: &dyn Connection) -> Result<Vec<Group>, Error> {
    all(
        db,
        "select g.id, g.name, g.type, d.name as deployment from local_dns_encoded_groups g \
         join deployments d on d.id = g.deployment_id order by g.id",
        vec![],
    )
    .await
}

/// The newest blob of records.
pub async fn latest_blob(db: &dyn Connection) -> Result<Option<DnsBlob>, Error> {
    first(
        db,
        "select * from local_dns_blobs where blob_id is not null order by id desc limit 1",
        vec![],
    )
    .await
}

/// Records a blob of records; its id is the version that agents compare.
pub async fn create_blob(
    db: &dyn Connection,
    blob: BlobId,
    records_version: i64,
    aliases_version: i32,
) -> Result<DnsBlob, Error> {
    one(
        db,
        "insert into local_dns_blobs (blob_id, version, created_at, records_version, \
         aliases_version) values ($1, (select coalesce(max(version), 0) + 1 from local_dns_blobs), \
         $2, $3, $4) returning *",
        params![
            blob,
            Timestamp::now(),
            i32::try_from(records_version).unwrap_or(i32::MAX),
            aliases_version
        ],
    )
    .await
}

/// `(agent, version)` of every agent that said what it has.
pub async fn agent_versions(db: &dyn Connection) -> Result<Vec<(String, i64)>, Error> {
    pairs(
        db,
        "select agent_id, dns_version from agent_dns_versions",
        vec![],
    )
    .await
}

/// Notes what an agent has.
pub async fn set_agent_version(
    db: &dyn Connection,
    agent_id: &str,
    version: i64,
) -> Result<(), Error> {
    db.execute(
        "insert into agent_dns_versions (agent_id, dns_version) values ($1, $2) \
         on conflict (agent_id) do update set dns_version = excluded.dns_version \
         where agent_dns_versions.dns_version < excluded.dns_version",
        params![agent_id, version],
    )
    .await?;
    Ok(())
}

/// Forgets an agent.
pub async fn delete_agent_version(db: &dyn Connection, agent_id: &str) -> Result<(), Error> {
    db.execute(
        "delete from agent_dns_versions where agent_id = $1",
        params![agent_id],
    )
    .await?;
    Ok(())
}

/// Forgets the versions that a blob held.
pub async fn forget_blob(db: &dyn Connection, blob: BlobId) -> Result<(), Error> {
    db.execute(
        "delete from local_dns_blobs where blob_id = $1",
        params![blob],
    )
    .await?;
    Ok(())
}

/// How many tombstones there are.
pub async fn tombstones(db: &dyn Connection) -> Result<i64, Error> {
    let sql = "select count(*) from local_dns_records where ip like '%-tombstone'";
    Ok(scalar(db, sql, vec![]).await?.unwrap_or(0))
}

/// Forgets all tombstones but the newest; how many.
pub async fn remove_tombstones(db: &dyn Connection) -> Result<u64, Error> {
    db.execute(
        "delete from local_dns_records where ip like '%-tombstone' and id < \
         (select max(id) from local_dns_records where ip like '%-tombstone')",
        vec![],
    )
    .await
}
