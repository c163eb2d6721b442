//! Managed networks: a CPI makes them when the first deployment needs them, and the last one leaves them orphaned.
//!
//! Upstream: deployment_plan/stages/create_network.rb, orphan_network_manager.rb, jobs/update_deployment.rb.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bosh_cpi::Cpi;
use bosh_director_api::Code;
use serde_json::{Map, Value, json};

use super::Error;
use super::scope::Scope;
use crate::db;
use crate::db::networks::NewSubnet;
use crate::manifest::Desired;
use crate::manifest::input::{ManagedNetworks, ManagedSubnet};
use crate::manifest::resolved::{Network, Subnet};
use crate::tasks::Lock;
use crate::variables::Values;
use crate::variables::interpolate::interpolate_map;

/// How long to wait for another task that is busy with the same network.
const LOCK: Duration = Duration::from_secs(10);

/// The networks that CPIs made, as a manifest's meaning depends on them; `None` when director.yml does not let CPIs
/// make networks.
pub async fn known(scope: &Scope) -> Result<Option<ManagedNetworks>, Error> {
    if !scope.director.config.enable_cpi_network_management {
        return Ok(None);
    }
    let mut subnets: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for subnet in db::networks::subnets(scope.db()).await? {
        let made = ManagedSubnet {
            reserved: subnet.reserved(),
            cloud_properties: subnet.cloud_properties(),
            range: subnet.range,
            gateway: subnet.gateway,
        };
        let siblings = subnets.entry(subnet.network_id).or_default();
        siblings.insert(subnet.name, made);
    }
    let networks = db::networks::list(scope.db()).await?;
    let known = networks.into_iter().map(|network| {
        (
            network.name,
            subnets.remove(&network.id).unwrap_or_default(),
        )
    });
    Ok(Some(known.collect()))
}

/// The lock that keeps two tasks off one network.
pub async fn lock(task: &crate::tasks::Context, name: &str) -> Result<Lock, Error> {
    task.lock(&format!("lock:network:{name}"), LOCK).await
}

/// Sees to it that the managed networks of the instance groups are there; whether any had to be made.
pub async fn ensure(scope: &Scope, desired: &Desired, values: &Values) -> Result<bool, Error> {
    let mut made = false;
    if !scope.director.config.enable_cpi_network_management {
        return Ok(made);
    }
    let stage = scope
        .task
        .stage("Creating managed networks", Vec::new(), None);
    for network in managed(desired) {
        let lock = lock(&scope.task, &network.name).await?;
        let done = async {
            let found = db::networks::find(scope.db(), &network.name).await?;
            let is_new = match &found {
                None => true,
                // A director that died while it made the network left it without some subnets.
                Some(found) => {
                    let have = db::networks::subnets_of(scope.db(), found.id).await?;
                    let lacks = |subnet: &&Subnet| {
                        !have
                            .iter()
                            .any(|have| Some(&have.name) == subnet.name.as_ref())
                    };
                    match network.subnets.iter().find(lacks) {
                        None => false,
                        Some(_) if !db::networks::is_used(scope.db(), found.id).await? => true,
                        Some(subnet) => {
                            return Err(Error::new(
                                Code::SubnetNotFoundInDB,
                                format!(
                                    "cannot find subnet: {} in the database",
                                    subnet.name.as_deref().unwrap_or_default()
                                ),
                            ));
                        }
                    }
                }
            };
            let row = if is_new {
                let work = create(scope, desired, network, values);
                stage.run(network.name.clone(), work).await?
            } else {
                match found {
                    Some(found) => found,
                    None => db::networks::create(scope.db(), &network.name).await?,
                }
            };
            if row.orphaned == Some(true) {
                db::networks::set_orphaned(scope.db(), row.id, false).await?;
            }
            db::networks::attach(scope.db(), scope.deployment.id, row.id).await?;
            Ok::<_, Error>(is_new)
        }
        .await;
        lock.release().await;
        made |= done?;
    }
    Ok(made)
}

/// The managed networks that instance groups are on, each once.
fn managed(desired: &Desired) -> Vec<&Network> {
    let mut seen = BTreeSet::new();
    desired
        .instance_groups
        .iter()
        .flat_map(|group| &group.networks)
        .map(|on| &*on.network)
        .filter(|network| network.managed && seen.insert(&network.name))
        .collect()
}

/// Makes a network with all its subnets, or nothing.
async fn create(
    scope: &Scope,
    desired: &Desired,
    network: &Network,
    values: &Values,
) -> Result<db::networks::Network, Error> {
    let mut names = BTreeSet::new();
    for subnet in &network.subnets {
        let Some(name) = &subnet.name else {
            return Err(Error::other("subnet in managed network must have a name"));
        };
        if !names.insert(name) {
            return Err(Error::other(
                "subnet names within a managed network must be unique",
            ));
        }
    }
    let row = match db::networks::find(scope.db(), &network.name).await? {
        Some(row) => row,
        None => db::networks::create(scope.db(), &network.name).await?,
    };
    let have = db::networks::subnets_of(scope.db(), row.id).await?;
    let mut undo: Vec<(Cpi, String)> = Vec::new();
    for subnet in &network.subnets {
        let name = subnet.name.clone().unwrap_or_default();
        if have.iter().any(|have| have.name == name) {
            continue;
        }
        let work = create_subnet(scope, desired, row.id, &name, subnet, values, &mut undo);
        let Err(error) = work.await else {
            continue;
        };
        for (cpi, cid) in undo {
            if let Err(error) = cpi.delete_network(&cid, scope.uncancellable().log()).await {
                scope
                    .task
                    .debug(format!("failed to delete subnet {cid}: {error}"));
            }
        }
        if have.is_empty() {
            db::networks::delete(scope.db(), row.id).await?;
        }
        if error.is_cancelled() {
            return Err(error);
        }
        return Err(error.context("deployment failed during creating managed networks"));
    }
    Ok(row)
}

async fn create_subnet(
    scope: &Scope,
    desired: &Desired,
    network: db::NetworkId,
    name: &str,
    subnet: &Subnet,
    values: &Values,
    undo: &mut Vec<(Cpi, String)>,
) -> Result<(), Error> {
    let mut cpi_name = "";
    let mut properties = Map::new();
    for (position, zone) in subnet.azs.iter().enumerate() {
        let Some(az) = desired.azs.iter().find(|az| az.name == *zone) else {
            continue;
        };
        if position == 0 {
            cpi_name = az.cpi.as_deref().unwrap_or_default();
        }
        properties.extend(az.cloud_properties.clone());
    }
    properties.extend(subnet.cloud_properties.clone());
    let properties = interpolate_map(&properties, values)?;
    let mut definition = Map::new();
    definition.insert("type".into(), json!("manual"));
    definition.insert("cloud_properties".into(), Value::Object(properties));
    if let Some(range) = subnet.range {
        definition.insert("range".into(), json!(range.to_string()));
    }
    if let Some(gateway) = subnet.gateway {
        let address = gateway.address().to_string();
        definition.insert("gateway".into(), json!(address));
    }
    if let Some(bits) = subnet.netmask_bits {
        definition.insert("netmask_bits".into(), json!(bits));
    }
    let cpi = scope.cpi(cpi_name, None)?;
    let made = cpi.create_network(definition, scope.log()).await?;
    undo.push((cpi, made.network_cid.clone()));
    let said = |key: &str| made.addresses.get(key).and_then(Value::as_str);
    let new = NewSubnet {
        name: name.to_owned(),
        range: subnet
            .range
            .map(|range| range.to_string())
            .or_else(|| said("range").map(str::to_owned)),
        gateway: subnet
            .gateway
            .map(|gateway| gateway.address().to_string())
            .or_else(|| said("gateway").map(str::to_owned)),
        reserved: made
            .addresses
            .get("reserved")
            .cloned()
            .unwrap_or_else(|| json!([])),
        cloud_properties: made.cloud_properties,
        cid: made.network_cid,
        cpi: cpi_name.to_owned(),
    };
    db::networks::add_subnet(scope.db(), network, new).await?;
    Ok(())
}

/// Leaves the managed networks that `desired` does not use any more; one that no deployment uses is orphaned.
pub async fn leave(scope: &Scope, desired: &Desired) -> Result<(), Error> {
    let used: BTreeSet<&str> = managed(desired)
        .into_iter()
        .map(|network| network.name.as_str())
        .collect();
    leave_all_but(scope, &used).await
}

/// Leaves all managed networks, for a deployment that is deleted.
pub async fn leave_all(scope: &Scope) -> Result<(), Error> {
    leave_all_but(scope, &BTreeSet::new()).await
}

async fn leave_all_but(scope: &Scope, used: &BTreeSet<&str>) -> Result<(), Error> {
    if !scope.director.config.enable_cpi_network_management {
        return Ok(());
    }
    let id = scope.deployment.id;
    for network in db::networks::of_deployment(scope.db(), id).await? {
        if used.contains(network.name.as_str()) {
            continue;
        }
        let lock = lock(&scope.task, &network.name).await?;
        let event = scope.event("orphan", "network", Some(network.name.clone()));
        let done = async {
            db::networks::detach(scope.db(), id, network.id).await?;
            if db::networks::is_used(scope.db(), network.id).await? {
                return Ok(());
            }
            let orphan = async {
                db::networks::set_orphaned(scope.db(), network.id, true).await?;
                Ok::<_, Error>(())
            };
            scope.task.recorded(event, orphan).await
        }
        .await;
        lock.release().await;
        done?;
    }
    Ok(())
}

/// Deletes a managed network that no deployment uses, in the cloud and here. Subnets that the cloud refuses to delete
/// are forgotten all the same, as upstream.
pub async fn delete(
    director: &crate::app::Director,
    task: &crate::tasks::Context,
    name: &str,
) -> Result<(), Error> {
    let db = &director.db;
    let Some(network) = db::networks::find(db, name).await? else {
        task.debug(format!("Network not found: {name}"));
        return Ok(());
    };
    let cpis = director.cpis().await?;
    for subnet in db::networks::subnets_of(db, network.id).await? {
        let event = db::events::NewEvent {
            action: "delete".into(),
            object_type: "subnet".into(),
            object_name: Some(subnet.cid.clone()),
            ..db::events::NewEvent::default()
        };
        let work = async {
            let cpi = cpis.get(subnet.cpi.as_deref().unwrap_or_default(), None)?;
            if let Err(error) = cpi.delete_network(&subnet.cid, task).await {
                task.debug(format!("Cannot delete network {}: {error}", subnet.cid));
            }
            db::networks::delete_subnet(db, subnet.id).await?;
            Ok::<_, Error>(())
        };
        task.recorded(event, work).await?;
    }
    db::networks::delete(db, network.id).await?;
    Ok(())
}
