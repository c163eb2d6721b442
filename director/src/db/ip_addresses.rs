//! Addresses that are taken.

use sea_orm::FromQueryResult;

use super::connection::{Connection, Error, all, params};
use super::row::{DeploymentId, InstanceId, OrphanedVmId, TaskId, Timestamp, VmId};

/// A row of `ip_addresses`.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct IpAddress {
    /// Primary key.
    pub id: i32,
    /// The network it is in.
    pub network_name: Option<String>,
    /// Named in the manifest, rather than chosen.
    #[sea_orm(from_alias = "static")]
    pub is_static: Option<bool>,
    /// Whose.
    pub instance_id: Option<InstanceId>,
    /// Since when.
    pub created_at: Option<Timestamp>,
    /// The task that took it.
    pub task_id: Option<String>,
    /// The address in CIDR notation, such as `10.244.0.5/32`.
    pub address_str: String,
    /// The VM that has it.
    pub vm_id: Option<VmId>,
    /// The orphaned VM that still has it.
    pub orphaned_vm_id: Option<OrphanedVmId>,
    /// Addresses of the same number share an interface.
    pub nic_group: Option<i32>,
}

impl IpAddress {
    /// The address without the prefix of a single host.
    pub fn address(&self) -> &str {
        match self.address_str.split_once('/') {
            Some((ip, "32")) if ip.contains('.') => ip,
            Some((ip, "128")) if ip.contains(':') => ip,
            _ => &self.address_str,
        }
    }
}

/// An address to take.
#[derive(Debug, Clone)]
pub struct NewIpAddress {
    /// The network it is in.
    pub network_name: String,
    /// Named in the manifest, rather than chosen.
    pub is_static: bool,
    /// Whose.
    pub instance_id: InstanceId,
    /// The task that takes it.
    pub task_id: TaskId,
    /// With or without a prefix; `/32` or `/128` is added.
    pub address: String,
    /// Addresses of the same number share an interface.
    pub nic_group: Option<i32>,
}

/// Takes an address; false when someone has it already.
pub async fn reserve(db: &dyn Connection, new: NewIpAddress) -> Result<bool, Error> {
    let changed = db
        .execute(
            "insert into ip_addresses (network_name, static, instance_id, created_at, task_id, \
             address_str, nic_group) values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict (address_str) do nothing",
            params![
                new.network_name,
                new.is_static,
                new.instance_id,
                Timestamp::now(),
                new.task_id.to_string(),
                with_prefix(&new.address),
                new.nic_group
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Every address that is taken, by anyone.
pub async fn list(db: &dyn Connection) -> Result<Vec<IpAddress>, Error> {
    all(db, "select * from ip_addresses order by id", vec![]).await
}

/// An address that is taken, and by whom.
#[derive(Debug, Clone, PartialEq, FromQueryResult)]
pub struct Owned {
    /// The address in CIDR notation.
    pub address_str: String,
    /// Whose; `None` for an orphaned VM.
    pub instance_id: Option<InstanceId>,
    /// `group/uuid`.
    pub instance_name: Option<String>,
    /// Of which deployment.
    pub deployment_name: Option<String>,
}

/// Every address that is taken, with who has it.
pub async fn list_with_owners(db: &dyn Connection) -> Result<Vec<Owned>, Error> {
    all(
        db,
        "select a.address_str, a.instance_id, i.job || '/' || i.uuid as instance_name, \
         d.name as deployment_name from ip_addresses a \
         left join instances i on i.id = a.instance_id \
         left join deployments d on d.id = i.deployment_id order by a.id",
        vec![],
    )
    .await
}

/// The addresses of a deployment's instances.
pub async fn by_deployment(db: &dyn Connection, id: DeploymentId) -> Result<Vec<IpAddress>, Error> {
    all(
        db,
        "select a.* from ip_addresses a join instances i on i.id = a.instance_id \
         where i.deployment_id = $1 order by a.id",
        params![id],
    )
    .await
}

/// The addresses of one instance.
pub async fn by_instance(db: &dyn Connection, id: InstanceId) -> Result<Vec<IpAddress>, Error> {
    all(
        db,
        "select * from ip_addresses where instance_id = $1 order by id",
        params![id],
    )
    .await
}

/// Notes which VM has the instance's addresses.
pub async fn assign_vm(db: &dyn Connection, id: InstanceId, vm: VmId) -> Result<(), Error> {
    db.execute(
        "update ip_addresses set vm_id = $1 where instance_id = $2",
        params![vm, id],
    )
    .await?;
    Ok(())
}

/// Changes whether an address counts as static.
pub async fn set_static(db: &dyn Connection, id: i32, is_static: bool) -> Result<(), Error> {
    db.execute(
        "update ip_addresses set static = $1 where id = $2",
        params![is_static, id],
    )
    .await?;
    Ok(())
}

/// Frees one address of an instance.
pub async fn release(db: &dyn Connection, id: InstanceId, address: &str) -> Result<(), Error> {
    db.execute(
        "delete from ip_addresses where instance_id = $1 and address_str = $2",
        params![id, with_prefix(address)],
    )
    .await?;
    Ok(())
}

/// Frees all addresses of an instance.
pub async fn release_all(db: &dyn Connection, id: InstanceId) -> Result<(), Error> {
    db.execute(
        "delete from ip_addresses where instance_id = $1",
        params![id],
    )
    .await?;
    Ok(())
}

fn with_prefix(address: &str) -> String {
    if address.contains('/') {
        address.to_owned()
    } else if address.contains(':') {
        format!("{address}/128")
    } else {
        format!("{address}/32")
    }
}
