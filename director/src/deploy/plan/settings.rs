//! An instance's network settings, and its address.
//!
//! Upstream: deployment_plan/network_settings.rb and `network_settings` of each kind of network.

use serde_json::{Map, Value, json};

use super::current::AgentState;
use super::names::{Index, Query, encode};
use super::placement::{PlacedInstance, Reservation, ReservationStatus};
use crate::manifest::resolved::{Desired, Network, NetworkKind};
use crate::manifest::{Error, InstanceGroup, Kind};

/// `networks` of an instance's spec: network name -> settings. Placeholders in cloud properties are unfilled.
pub(crate) fn networks(
    group: &InstanceGroup,
    placed: &PlacedInstance,
    desired: &Desired,
    agent: Option<&AgentState>,
) -> Result<Map<String, Value>, Error> {
    let mut all = Map::new();
    for reservation in &placed.reservations {
        if reservation.status == ReservationStatus::Obsolete {
            continue;
        }
        let Some(network) = desired.network(&reservation.network) else {
            continue;
        };
        let mut defaults: Vec<&str> = group
            .default_networks
            .iter()
            .filter(|(_, name)| **name == network.name)
            .map(|(property, _)| property.as_str())
            .collect();
        defaults.sort_unstable();
        let settings = match network.kind {
            NetworkKind::Manual => manual(network, reservation, &defaults)?,
            NetworkKind::Dynamic => dynamic(network, placed.az.as_deref(), &defaults)?,
            NetworkKind::Vip => vip(network, reservation, &defaults)?,
        };
        all.insert(network.name.clone(), Value::Object(settings));
    }
    if let Some(agent) = agent {
        learn(&mut all, &agent.networks);
    }
    Ok(all)
}

/// Adds to the settings of dynamic networks what only the agent knows: `ip`, `netmask` and `gateway`.
pub(super) fn learn(networks: &mut Map<String, Value>, agent: &Value) {
    for (name, settings) in networks.iter_mut() {
        let Value::Object(settings) = settings else {
            continue;
        };
        if settings.get("type").and_then(Value::as_str) != Some("dynamic") {
            continue;
        }
        for key in ["ip", "netmask", "gateway"] {
            let known = agent.get(name).and_then(|settings| settings.get(key));
            if let Some(value) = known.filter(|value| !value.is_null()) {
                settings.insert(key.into(), value.clone());
            }
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn manual(
    network: &Network,
    reservation: &Reservation,
    defaults: &[&str],
) -> Result<Map<String, Value>, Error> {
    let block = reservation.block.ok_or_else(|| {
        Error::new(
            Kind::NetworkReservationIpMissing,
            "Can't generate network settings without an IP",
        )
    })?;
    let subnet = network.subnet_of(&block).ok_or_else(|| {
        Error::new(
            Kind::NetworkReservationInvalidIp,
            format!("Provided IP '{block}' does not belong to any subnet"),
        )
    })?;
    if subnet.prefix != block.prefix() {
        return Err(Error::new(
            Kind::NetworkReservationInvalidPrefix,
            format!(
                "Subnet Prefix {} and ip reservation prefix {} do not match",
                subnet.prefix,
                block.prefix()
            ),
        ));
    }
    let netmask = subnet.range.map(|range| range.netmask().to_string());
    let mut settings = object(json!({
        "type": "manual",
        "ip": block.address().to_string(),
        "prefix": block.prefix().to_string(),
        "netmask": netmask,
        "cloud_properties": subnet.cloud_properties,
    }));
    if !defaults.is_empty() {
        settings.insert("default".into(), json!(defaults));
    }
    if let Some(nic_group) = reservation.nic_group {
        settings.insert("nic_group".into(), json!(nic_group.to_string()));
    }
    if let Some(dns) = &subnet.dns {
        settings.insert("dns".into(), json!(dns));
    }
    if let Some(gateway) = &subnet.gateway {
        settings.insert("gateway".into(), json!(gateway.address().to_string()));
    }
    Ok(settings)
}

fn dynamic(
    network: &Network,
    az: Option<&str>,
    defaults: &[&str],
) -> Result<Map<String, Value>, Error> {
    let subnet = match az {
        None => network.subnets.first(),
        Some(az) => network
            .subnets
            .iter()
            .find(|subnet| subnet.azs.iter().any(|name| name == az)),
    };
    let subnet = subnet.ok_or_else(|| {
        Error::new(
            Kind::NetworkSubnetInvalidAvailabilityZone,
            format!(
                "Network '{}' has no matching subnet for availability zone '{}'",
                network.name,
                az.unwrap_or_default()
            ),
        )
    })?;
    let mut settings = object(json!({
        "type": "dynamic",
        "cloud_properties": subnet.cloud_properties,
        "prefix": network.prefix.to_string(),
    }));
    if let Some(dns) = &subnet.dns {
        settings.insert("dns".into(), json!(dns));
    }
    if !defaults.is_empty() {
        settings.insert("default".into(), json!(defaults));
    }
    Ok(settings)
}

fn vip(
    network: &Network,
    reservation: &Reservation,
    defaults: &[&str],
) -> Result<Map<String, Value>, Error> {
    if !defaults.is_empty() {
        return Err(Error::new(
            Kind::NetworkReservationVipDefaultProvided,
            "Can't provide any defaults since this is a VIP network",
        ));
    }
    let mut settings = object(json!({
        "type": "vip",
        "ip": reservation.block.map(|block| block.address().to_string()),
        "cloud_properties": network.cloud_properties,
        "prefix": network.prefix.to_string(),
    }));
    if let Some(nic_group) = reservation.nic_group {
        settings.insert("nic_group".into(), json!(nic_group.to_string()));
    }
    Ok(settings)
}

/// The address of an instance as others should use it; `None` if it has none yet.
pub(super) fn address(
    group: &InstanceGroup,
    placed: &PlacedInstance,
    desired: &Desired,
    index: &Index,
) -> Result<Option<String>, Error> {
    let Some(network) = group.address_network() else {
        return Ok(None);
    };
    address_in(network, placed, desired, index, desired.use_dns_addresses())
}

/// The address of an instance in one of its networks: its IP, or a DNS name if `dns` says so or there is no IP to
/// know beforehand.
pub(crate) fn address_in(
    network: &str,
    placed: &PlacedInstance,
    desired: &Desired,
    index: &Index,
    dns: bool,
) -> Result<Option<String>, Error> {
    let Some(settings) = placed.networks.get(network) else {
        return Ok(None);
    };
    let is_dynamic = settings.get("type").and_then(Value::as_str) == Some("dynamic");
    let by_name = is_dynamic || (dns && desired.settings.local_dns_enabled);
    if !by_name {
        return Ok(settings
            .get("ip")
            .and_then(Value::as_str)
            .map(str::to_owned));
    }
    let query = Query {
        uuid: Some(&placed.uuid),
        group_type: "instance-group",
        group: &placed.group,
        network,
        deployment: &desired.name,
        ..Query::default()
    };
    encode(
        &query,
        index,
        &desired.settings.root_domain,
        desired.features.use_short_dns_addresses,
    )
    .map(Some)
}
