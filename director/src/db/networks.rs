//! Managed networks: those that a CPI made, with their subnets, and which deployments use them.

use sea_orm::FromQueryResult;
use serde_json::{Map, Value as Json};

use super::connection::{Connection, Error, all, first, one, params};
use super::row::{DeploymentId, NetworkId, Timestamp};

/// A row of `networks`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Network {
    /// Primary key.
    pub id: NetworkId,
    /// Its name in cloud configs.
    pub name: String,
    /// `manual`.
    #[sea_orm(from_alias = "type")]
    pub kind: String,
    /// Made when.
    pub created_at: Timestamp,
    /// Whether no deployment uses it.
    pub orphaned: Option<bool>,
    /// Since when.
    pub orphaned_at: Option<Timestamp>,
}

/// A row of `subnets`.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Subnet {
    /// Primary key.
    pub id: i32,
    /// The cloud's id.
    pub cid: String,
    /// Its name in cloud configs.
    pub name: String,
    /// Its addresses.
    pub range: Option<String>,
    /// Its gateway.
    pub gateway: Option<String>,
    /// Addresses never handed out, JSON.
    pub reserved: Option<String>,
    /// For the CPI, JSON.
    pub cloud_properties: Option<String>,
    /// The name of its CPI, empty for the director's own.
    pub cpi: Option<String>,
    /// Whose.
    pub network_id: NetworkId,
}

impl Subnet {
    /// What VMs on it get as its cloud properties.
    pub fn cloud_properties(&self) -> Map<String, Json> {
        let text = self.cloud_properties.as_deref().unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Addresses never handed out: a list of addresses and ranges.
    pub fn reserved(&self) -> Json {
        let text = self.reserved.as_deref().unwrap_or("[]");
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// A subnet to record.
#[derive(Debug, Clone)]
pub struct NewSubnet {
    /// The cloud's id.
    pub cid: String,
    /// Its name in cloud configs.
    pub name: String,
    /// Its addresses.
    pub range: Option<String>,
    /// Its gateway.
    pub gateway: Option<String>,
    /// Addresses never handed out.
    pub reserved: Json,
    /// For the CPI.
    pub cloud_properties: Map<String, Json>,
    /// The name of its CPI.
    pub cpi: String,
}

/// All of them.
pub async fn list(db: &dyn Connection) -> Result<Vec<Network>, Error> {
    all(db, "select * from networks order by id", vec![]).await
}

/// All subnets.
pub async fn subnets(db: &dyn Connection) -> Result<Vec<Subnet>, Error> {
    all(db, "select * from subnets order by id", vec![]).await
}

/// The subnets of a network.
pub async fn subnets_of(db: &dyn Connection, id: NetworkId) -> Result<Vec<Subnet>, Error> {
    all(
        db,
        "select * from subnets where network_id = $1 order by id",
        params![id],
    )
    .await
}

/// The network of that name.
pub async fn find(db: &dyn Connection, name: &str) -> Result<Option<Network>, Error> {
    first(db, "select * from networks where name = $1", params![name]).await
}

/// Inserts a network without subnets.
pub async fn create(db: &dyn Connection, name: &str) -> Result<Network, Error> {
    one(
        db,
        "insert into networks (name, type, created_at, orphaned) \
         values ($1, 'manual', $2, $3) returning *",
        params![name, Timestamp::now(), false],
    )
    .await
}

/// Inserts a subnet.
pub async fn add_subnet(
    db: &dyn Connection,
    network: NetworkId,
    new: NewSubnet,
) -> Result<Subnet, Error> {
    one(
        db,
        "insert into subnets (cid, name, range, gateway, reserved, cloud_properties, cpi, \
         network_id) values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
        params![
            new.cid,
            new.name,
            new.range,
            new.gateway,
            new.reserved.to_string(),
            Json::Object(new.cloud_properties).to_string(),
            new.cpi,
            network
        ],
    )
    .await
}

/// Forgets a subnet.
pub async fn delete_subnet(db: &dyn Connection, id: i32) -> Result<(), Error> {
    db.execute("delete from subnets where id = $1", params![id])
        .await?;
    Ok(())
}

/// Forgets a network and its subnets.
pub async fn delete(db: &dyn Connection, id: NetworkId) -> Result<(), Error> {
    db.execute("delete from networks where id = $1", params![id])
        .await?;
    Ok(())
}

/// Notes that no deployment uses a network, or that one does again.
pub async fn set_orphaned(db: &dyn Connection, id: NetworkId, orphaned: bool) -> Result<(), Error> {
    db.execute(
        "update networks set orphaned = $1, orphaned_at = $2 where id = $3",
        params![orphaned, orphaned.then(Timestamp::now), id],
    )
    .await?;
    Ok(())
}

/// Notes that a deployment uses a network.
pub async fn attach(
    db: &dyn Connection,
    deployment: DeploymentId,
    network: NetworkId,
) -> Result<(), Error> {
    db.execute(
        "insert into deployments_networks (deployment_id, network_id) values ($1, $2) \
         on conflict do nothing",
        params![deployment, network],
    )
    .await?;
    Ok(())
}

/// Notes that a deployment uses a network no longer.
pub async fn detach(
    db: &dyn Connection,
    deployment: DeploymentId,
    network: NetworkId,
) -> Result<(), Error> {
    db.execute(
        "delete from deployments_networks where deployment_id = $1 and network_id = $2",
        params![deployment, network],
    )
    .await?;
    Ok(())
}

/// The networks that a deployment uses.
pub async fn of_deployment(
    db: &dyn Connection,
    deployment: DeploymentId,
) -> Result<Vec<Network>, Error> {
    all(
        db,
        "select n.* from networks n join deployments_networks u on u.network_id = n.id \
         where u.deployment_id = $1 order by n.id",
        params![deployment],
    )
    .await
}

/// Whether any deployment uses a network.
pub async fn is_used(db: &dyn Connection, network: NetworkId) -> Result<bool, Error> {
    let rows = db
        .rows(
            "select 1 from deployments_networks where network_id = $1 limit 1",
            params![network],
        )
        .await?;
    Ok(!rows.is_empty())
}
