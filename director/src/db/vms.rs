//! VMs of instances, and orphaned ones.

use sea_orm::FromQueryResult;
use serde_json::Value as Json;

use super::connection::{Connection, Error, Update, all, first, one, params};
use super::row::{DeploymentId, InstanceId, OrphanedVmId, Timestamp, VmId};

/// A row of `vms`.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct Vm {
    /// Primary key.
    pub id: VmId,
    /// Whose.
    pub instance_id: InstanceId,
    /// The agent's id, part of its NATS subjects.
    pub agent_id: Option<String>,
    /// The cloud's id.
    pub cid: Option<String>,
    /// SHA-1 of the trusted certificates it has.
    pub trusted_certs_sha1: Option<String>,
    /// The one that serves the instance; others are being made or deleted.
    pub active: Option<bool>,
    /// The name of its CPI.
    pub cpi: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// The networks as the agent knows them, JSON.
    pub network_spec_json: Option<String>,
    /// The stemcell's api_version.
    pub stemcell_api_version: Option<i32>,
    /// The stemcell's name.
    pub stemcell_name: Option<String>,
    /// The stemcell's version.
    pub stemcell_version: Option<String>,
    /// `env` of create_vm, JSON.
    pub env_json: Option<String>,
    /// `cloud_properties` of create_vm, JSON.
    pub cloud_properties_json: Option<String>,
    /// SHA-1 of the blobstore settings it has.
    pub blobstore_config_sha1: Option<String>,
    /// SHA-1 of the NATS settings it has.
    pub nats_config_sha1: Option<String>,
    /// Its certificate is no longer the short-lived bootstrap one.
    pub permanent_nats_credentials: bool,
}

impl Vm {
    /// Whether it is the instance's current VM.
    pub fn is_active(&self) -> bool {
        self.active.unwrap_or(false)
    }

    /// The networks, parsed.
    pub fn network_spec(&self) -> Json {
        self.network_spec_json
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| Json::Object(serde_json::Map::new()))
    }
}

/// What a new VM starts with.
#[derive(Debug, Clone, Default)]
pub struct NewVm {
    /// The agent's id.
    pub agent_id: String,
    /// The cloud's id, once known.
    pub cid: Option<String>,
    /// The name of its CPI.
    pub cpi: String,
    /// The stemcell's api_version.
    pub stemcell_api_version: Option<i32>,
    /// The stemcell's name.
    pub stemcell_name: Option<String>,
    /// The stemcell's version.
    pub stemcell_version: Option<String>,
    /// `env` of create_vm.
    pub env: Option<Json>,
    /// `cloud_properties` of create_vm.
    pub cloud_properties: Option<Json>,
    /// The networks as the agent knows them.
    pub network_spec: Option<Json>,
    /// SHA-1 of the blobstore settings it gets.
    pub blobstore_config_sha1: Option<String>,
    /// SHA-1 of the NATS settings it gets.
    pub nats_config_sha1: Option<String>,
    /// Whether its certificate is the lasting one from the start.
    pub permanent_nats_credentials: bool,
}

/// The columns to change; `None` leaves one alone.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The cloud's id.
    pub cid: Option<String>,
    /// The networks as the agent knows them.
    pub network_spec: Option<Json>,
    /// SHA-1 of the trusted certificates it has.
    pub trusted_certs_sha1: Option<String>,
    /// SHA-1 of the blobstore settings it has.
    pub blobstore_config_sha1: Option<String>,
    /// SHA-1 of the NATS settings it has.
    pub nats_config_sha1: Option<String>,
    /// Its certificate is the lasting one.
    pub permanent_nats_credentials: Option<bool>,
    /// `env` of create_vm.
    pub env: Option<Json>,
    /// `cloud_properties` of create_vm.
    pub cloud_properties: Option<Json>,
}

/// A row of `orphaned_vms`: taken from its instance, to be deleted later.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct OrphanedVm {
    /// Primary key.
    pub id: OrphanedVmId,
    /// The cloud's id.
    pub cid: String,
    /// Where it is.
    pub availability_zone: Option<String>,
    /// Its cloud properties, JSON.
    pub cloud_properties: Option<String>,
    /// The name of its CPI.
    pub cpi: Option<String>,
    /// Since when.
    pub orphaned_at: Timestamp,
    /// The stemcell's api_version.
    pub stemcell_api_version: Option<i32>,
    /// Whose it was.
    pub deployment_name: Option<String>,
    /// Whose it was.
    pub instance_name: Option<String>,
}

/// Inserts a VM that is not the active one yet.
pub async fn create(db: &dyn Connection, instance: InstanceId, new: NewVm) -> Result<Vm, Error> {
    let text = |json: Option<Json>| json.map(|json| json.to_string());
    one(
        db,
        "insert into vms (instance_id, agent_id, cid, cpi, active, created_at, \
         stemcell_api_version, stemcell_name, stemcell_version, env_json, cloud_properties_json, \
         network_spec_json, blobstore_config_sha1, nats_config_sha1, permanent_nats_credentials) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) returning *",
        params![
            instance,
            new.agent_id,
            new.cid,
            new.cpi,
            false,
            Timestamp::now(),
            new.stemcell_api_version,
            new.stemcell_name,
            new.stemcell_version,
            text(new.env),
            text(new.cloud_properties),
            text(new.network_spec),
            new.blobstore_config_sha1,
            new.nats_config_sha1,
            new.permanent_nats_credentials
        ],
    )
    .await
}

/// Changes the given columns of one VM.
pub async fn update(db: &dyn Connection, id: VmId, changes: Changes) -> Result<(), Error> {
    let text = |json: Option<Json>| json.map(|json| json.to_string());
    Update::new()
        .set("cid", changes.cid)
        .set("network_spec_json", text(changes.network_spec))
        .set("trusted_certs_sha1", changes.trusted_certs_sha1)
        .set("blobstore_config_sha1", changes.blobstore_config_sha1)
        .set("nats_config_sha1", changes.nats_config_sha1)
        .set(
            "permanent_nats_credentials",
            changes.permanent_nats_credentials,
        )
        .set("env_json", text(changes.env))
        .set("cloud_properties_json", text(changes.cloud_properties))
        .by_id(db, "vms", id)
        .await
}

/// Makes this VM the instance's active one, or leaves it with none.
pub async fn set_active(
    db: &dyn Connection,
    instance: InstanceId,
    vm: Option<VmId>,
) -> Result<(), Error> {
    db.execute(
        "update vms set active = (id = $1) where instance_id = $2",
        params![vm.map_or(-1, |vm| vm.0), instance],
    )
    .await?;
    Ok(())
}

/// The VM with that key.
pub async fn get(db: &dyn Connection, id: VmId) -> Result<Option<Vm>, Error> {
    first(db, "select * from vms where id = $1", params![id]).await
}

/// The active VM of an instance.
pub async fn active(db: &dyn Connection, instance: InstanceId) -> Result<Option<Vm>, Error> {
    first(
        db,
        "select * from vms where instance_id = $1 and active = $2",
        params![instance, true],
    )
    .await
}

/// All VMs of an instance, newest last.
pub async fn by_instance(db: &dyn Connection, instance: InstanceId) -> Result<Vec<Vm>, Error> {
    all(
        db,
        "select * from vms where instance_id = $1 order by id",
        params![instance],
    )
    .await
}

/// All VMs of a deployment, by instance, newest last.
pub async fn by_deployment(db: &dyn Connection, id: DeploymentId) -> Result<Vec<Vm>, Error> {
    all(
        db,
        "select v.* from vms v join instances i on i.id = v.instance_id \
         where i.deployment_id = $1 order by v.instance_id, v.id",
        params![id],
    )
    .await
}

/// All VMs there are.
pub async fn list(db: &dyn Connection) -> Result<Vec<Vm>, Error> {
    all(db, "select * from vms order by id", vec![]).await
}

/// The VM with that agent.
pub async fn find_by_agent(db: &dyn Connection, agent_id: &str) -> Result<Option<Vm>, Error> {
    first(
        db,
        "select * from vms where agent_id = $1",
        params![agent_id],
    )
    .await
}

/// The VM with that cloud id.
pub async fn find_by_cid(db: &dyn Connection, cid: &str) -> Result<Option<Vm>, Error> {
    first(db, "select * from vms where cid = $1", params![cid]).await
}

/// Deletes the row; the addresses stay with the instance.
pub async fn delete(db: &dyn Connection, id: VmId) -> Result<(), Error> {
    db.execute(
        "update ip_addresses set vm_id = null where vm_id = $1",
        params![id],
    )
    .await?;
    db.execute("delete from vms where id = $1", params![id])
        .await?;
    Ok(())
}

/// Turns a VM into an orphan: its row goes, its addresses stay reserved by the orphan.
pub async fn orphan(
    db: &dyn Connection,
    vm: &Vm,
    availability_zone: Option<&str>,
    deployment_name: &str,
    instance_name: &str,
) -> Result<OrphanedVm, Error> {
    let orphan: OrphanedVm = one(
        db,
        "insert into orphaned_vms (cid, availability_zone, cloud_properties, cpi, orphaned_at, \
         stemcell_api_version, deployment_name, instance_name) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning *",
        params![
            vm.cid.clone().unwrap_or_default(),
            availability_zone.map(str::to_owned),
            vm.cloud_properties_json.clone(),
            vm.cpi.clone(),
            Timestamp::now(),
            vm.stemcell_api_version,
            deployment_name,
            instance_name
        ],
    )
    .await?;
    db.execute(
        "update ip_addresses set orphaned_vm_id = $1, vm_id = null, instance_id = null \
         where vm_id = $2",
        params![orphan.id, vm.id],
    )
    .await?;
    db.execute("delete from vms where id = $1", params![vm.id])
        .await?;
    Ok(orphan)
}

/// All orphaned VMs, oldest first.
pub async fn orphans(db: &dyn Connection) -> Result<Vec<OrphanedVm>, Error> {
    all(
        db,
        "select * from orphaned_vms order by orphaned_at, id",
        vec![],
    )
    .await
}

/// Forgets an orphaned VM and frees its addresses.
pub async fn delete_orphan(db: &dyn Connection, id: OrphanedVmId) -> Result<(), Error> {
    db.execute(
        "delete from ip_addresses where orphaned_vm_id = $1",
        params![id],
    )
    .await?;
    db.execute("delete from orphaned_vms where id = $1", params![id])
        .await?;
    Ok(())
}

impl Vm {
    /// Its addresses in order: those reserved for it, and those that dynamic
    /// networks gave it.
    pub fn ips(&self, reserved: &[String]) -> Vec<String> {
        let mut ips = reserved.to_vec();
        if let Json::Object(networks) = self.network_spec() {
            for network in networks.values() {
                let text = |key: &str| network.get(key).and_then(Json::as_str).unwrap_or_default();
                let (ip, prefix) = (text("ip"), text("prefix"));
                match (ip, prefix) {
                    ("", _) => {}
                    (ip, "" | "32" | "128") => ips.push(ip.to_owned()),
                    (ip, prefix) => ips.push(format!("{ip}/{prefix}")),
                }
            }
        }
        ips.sort_by_key(|ip| {
            let address = ip
                .split('/')
                .next()
                .and_then(|ip| ip.parse::<std::net::IpAddr>().ok());
            (address, ip.clone())
        });
        ips.dedup();
        ips
    }
}
