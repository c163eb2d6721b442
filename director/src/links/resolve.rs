//! Bringing together links wanted and links on offer.
//!
//! Upstream: links/links_manager.rb, links_error_builder.rb, deployment_plan/links/link.rb.

use serde_json::{Map, Value, json};

use super::model::{Consumer, Found, Others, Provider, Resolved};
use super::{offers, wants};
use crate::deploy::plan::Placement;
use crate::deploy::plan::names::{Index, Query, encode};
use crate::manifest::{Desired, Error, InstanceGroup, Kind};

/// Matches every link wanted with one on offer.
///
/// `index` holds the numbers that short DNS names need; it may be empty if the deployment wants none.
///
/// # Errors
/// Everything that cannot be matched, in one message.
pub fn resolve(
    desired: &Desired,
    placement: &Placement,
    index: &Index,
    others: &Others,
) -> Result<Resolved, Error> {
    let mut providers = offers::read(desired)?;
    let mut consumers = wants::read(desired, others, &mut providers)?;
    for provider in &mut providers {
        let is_wanted = || {
            let mut consumers = consumers.iter();
            provider.shared || consumers.any(|consumer| may_want(consumer, provider, desired))
        };
        if provider.kind == "job"
            && is_wanted()
            && let Some(group) = desired.instance_group(&provider.instance_group)
        {
            provider.content = content(desired, group, placement, provider, index)?;
        }
    }
    let mut errors = Vec::new();
    for consumer in &mut consumers {
        match find(desired, consumer, &providers, others) {
            Ok(found) => consumer.found = found,
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        return Ok(Resolved {
            providers,
            consumers,
        });
    }
    Err(Error::new(
        Kind::Director,
        format!(
            "Failed to resolve links from deployment '{}'. See errors below:\n  - {}",
            desired.name,
            errors.join("\n  - ")
        ),
    ))
}

fn is_elsewhere(consumer: &Consumer, desired: &Desired) -> bool {
    consumer
        .says("from_deployment")
        .is_some_and(|name| name != desired.name)
}

fn may_want(consumer: &Consumer, provider: &Provider, desired: &Desired) -> bool {
    !consumer.blocked
        && provider.link_type == consumer.link_type
        && !is_elsewhere(consumer, desired)
        && (!consumer.is("explicit_link") || provider.name == consumer.alias)
}

/// A provider that could be the one, of this deployment or of another.
struct Candidate<'a> {
    position: Option<usize>,
    external: Option<i64>,
    deployment: &'a str,
    provider: &'a Provider,
}

fn find(
    desired: &Desired,
    consumer: &Consumer,
    providers: &[Provider],
    others: &Others,
) -> Result<Option<Found>, String> {
    if consumer.is("manual_link") {
        let own = providers.iter().position(|provider| {
            provider.kind == "manual"
                && provider.instance_group == consumer.instance_group
                && provider.owner == consumer.owner
                && provider.original_name == consumer.name
        });
        return Ok(own.map(|position| Found {
            provider: Some(position),
            external: None,
            group_name: providers[position].group_name(),
            content: providers[position].content.clone(),
        }));
    }
    let candidates = candidates(desired, consumer, providers, others);
    let explicit = consumer.is("explicit_link");
    let may_do_without = consumer.optional && (consumer.blocked || !explicit);
    if candidates.is_empty() && may_do_without {
        return Ok(None);
    }
    let network = consumer.says("network");
    let [one] = candidates.as_slice() else {
        return Err(complaint(consumer, &candidates, network));
    };
    if explicit && let Some(network) = network {
        let known = one
            .provider
            .content
            .get("networks")
            .and_then(Value::as_array);
        if !known.is_some_and(|names| names.iter().any(|name| name == network)) {
            return Err(complaint(consumer, &candidates, Some(network)));
        }
    }
    let content = choose_addresses(
        &one.provider.content,
        network,
        consumer.metadata.get("ip_addresses"),
    )?;
    Ok(Some(Found {
        provider: one.position,
        external: one.external,
        group_name: one.provider.group_name(),
        content,
    }))
}

fn candidates<'a>(
    desired: &'a Desired,
    consumer: &Consumer,
    providers: &'a [Provider],
    others: &'a Others,
) -> Vec<Candidate<'a>> {
    if consumer.blocked {
        return Vec::new();
    }
    let elsewhere = is_elsewhere(consumer, desired);
    let explicit = consumer.is("explicit_link");
    let fits = |provider: &Provider| {
        provider.kind != "manual"
            && provider.link_type == consumer.link_type
            && provider.consumable
            && (!explicit || provider.name == consumer.alias)
            && (!elsewhere || provider.shared)
    };
    if elsewhere {
        let wanted = consumer.says("from_deployment");
        return others
            .providers
            .iter()
            .filter(|external| {
                Some(external.deployment.as_str()) == wanted && fits(&external.provider)
            })
            .map(|external| Candidate {
                position: None,
                external: Some(external.id),
                deployment: &external.deployment,
                provider: &external.provider,
            })
            .collect();
    }
    providers
        .iter()
        .enumerate()
        .filter(|(_, provider)| fits(provider))
        .map(|(position, provider)| Candidate {
            position: Some(position),
            external: None,
            deployment: &desired.name,
            provider,
        })
        .collect()
}

fn complaint(consumer: &Consumer, candidates: &[Candidate<'_>], network: Option<&str>) -> String {
    let mut text = format!("Failed to resolve link '{}' with ", consumer.name);
    if consumer.alias != consumer.name {
        text += &format!("alias '{}' and ", consumer.alias);
    }
    text += &format!("type '{}' from ", consumer.link_type);
    text += &match (consumer.kind.as_str(), consumer.instance_group.as_str()) {
        ("variable", _) => format!("variable '{}'.", consumer.owner),
        (_, "") => format!("job '{}'.", consumer.owner),
        (_, group) => format!("job '{}' in instance group '{group}'.", consumer.owner),
    };
    text += if candidates.len() > 1 {
        " Multiple link providers found:"
    } else {
        " Details below:"
    };
    if candidates.is_empty() {
        return text + "\n    - No link providers found";
    }
    for candidate in candidates {
        let provider = candidate.provider;
        text += "\n    - ";
        if provider.kind == "disk" {
            text += &format!(
                "Disk link provider '{}' from instance group '{}'",
                provider.original_name, provider.instance_group
            );
            if network.is_some() {
                text += " does not contain any networks";
            }
            continue;
        }
        text += &format!("Link provider '{}' ", provider.original_name);
        if provider.name != provider.original_name {
            text += &format!("with alias '{}' ", provider.name);
        }
        text += &format!(
            "from job '{}' in instance group '{}' in deployment '{}'",
            provider.owner, provider.instance_group, candidate.deployment
        );
        if let Some(network) = network {
            text += &format!(" does not belong to network '{network}'");
        }
    }
    text
}

/// Puts the addresses of the wanted network and kind in place, and takes the others out: what a consumer sees of a
/// provider's content.
///
/// # Errors
/// The provider has no such network.
pub fn choose_addresses(
    content: &Value,
    network: Option<&str>,
    ip_addresses: Option<&Value>,
) -> Result<Value, String> {
    let mut content = match content {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    let ip_addresses = ip_addresses.and_then(Value::as_bool);
    let by_dns = content.get("use_dns_addresses") == Some(&Value::Bool(true));
    let default = content
        .get("default_network")
        .map(|name| name.as_str().unwrap_or_default().to_owned());
    let (network, kind) = match default {
        None if ip_addresses.is_some() => {
            return Err("Unable to retrieve default network from provider. Please redeploy provider deployment".into());
        }
        None => (network.map(str::to_owned), "addresses"),
        Some(default) => {
            let name = network.map_or(default, str::to_owned);
            content.insert("default_network".into(), json!(name));
            let kind = match ip_addresses {
                Some(true) => "addresses",
                Some(false) => "dns_addresses",
                None if by_dns => "dns_addresses",
                None => "addresses",
            };
            (Some(name), kind)
        }
    };
    if let Some(Value::Array(instances)) = content.get_mut("instances") {
        for instance in instances.iter_mut().filter_map(Value::as_object_mut) {
            // An errand that has no VM has no address either.
            let is_placed = instance
                .get(kind)
                .and_then(Value::as_object)
                .is_some_and(|all| !all.is_empty());
            if let Some(network) = &network
                && is_placed
            {
                let address = instance
                    .get(kind)
                    .and_then(|addresses| addresses.get(network))
                    .cloned();
                let address = address
                    .ok_or_else(|| format!("Provider link does not have network: '{network}'"))?;
                instance.insert("address".into(), address);
            }
            instance.shift_remove("addresses");
            instance.shift_remove("dns_addresses");
        }
    }
    Ok(Value::Object(content))
}

/// What a link provides: the provider's instances with their addresses, and its properties.
fn content(
    desired: &Desired,
    group: &InstanceGroup,
    placement: &Placement,
    provider: &Provider,
    index: &Index,
) -> Result<Value, Error> {
    let default_network = group.address_network();
    let link_group = provider.group_name();
    let mut instances = Vec::new();
    for placed in placement
        .group(&group.name)
        .into_iter()
        .flat_map(|group| &group.instances)
    {
        let address = |network: &str, dns: bool| -> Result<Value, Error> {
            let Some(settings) = placed.networks.get(network) else {
                return Ok(Value::Null);
            };
            let is_dynamic = settings.get("type").and_then(Value::as_str) == Some("dynamic");
            let by_name = is_dynamic || (dns && desired.settings.local_dns_enabled);
            if !by_name {
                return Ok(settings.get("ip").cloned().unwrap_or(Value::Null));
            }
            let by_link = desired.features.use_link_dns_names;
            let query = Query {
                uuid: Some(&placed.uuid),
                group_type: if by_link { "link" } else { "instance-group" },
                group: if by_link { &link_group } else { &group.name },
                network,
                deployment: &desired.name,
                ..Query::default()
            };
            let short = by_link || desired.features.use_short_dns_addresses;
            encode(&query, index, &desired.settings.root_domain, short).map(Value::String)
        };
        let all = |dns: bool| -> Result<Map<String, Value>, Error> {
            let names = placed.networks.keys();
            names
                .map(|network| Ok((network.clone(), address(network, dns)?)))
                .collect()
        };
        let own = match default_network {
            Some(network) => address(network, desired.use_dns_addresses())?,
            None => Value::Null,
        };
        instances.push(json!({
            "name": group.name,
            "id": placed.uuid,
            "index": placed.index,
            "bootstrap": placed.bootstrap,
            "az": placed.az,
            "address": own,
            "addresses": all(false)?,
            "dns_addresses": all(true)?,
        }));
    }
    let networks: Vec<&str> = group
        .networks
        .iter()
        .map(|network| network.network.name.as_str())
        .collect();
    Ok(json!({
        "deployment_name": desired.name,
        "domain": desired.settings.root_domain,
        "default_network": default_network,
        "networks": networks,
        "instance_group": group.name,
        "properties": provider.properties,
        "use_short_dns_addresses": desired.features.use_short_dns_addresses,
        "use_dns_addresses": desired.use_dns_addresses(),
        "use_link_dns_names": desired.features.use_link_dns_names,
        "instances": instances,
    }))
}
