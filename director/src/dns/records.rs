//! The contents of the blob. Upstream: `dns/dns_records.rb`.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use crate::db::dns::{Alias, Group, InstanceRecord};

/// Everything the blob is made of.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The records of all instances.
    pub records: Vec<InstanceRecord>,
    /// Row ids of the instances, by uuid.
    pub instance_numbers: HashMap<String, i32>,
    /// The aliases of all deployments.
    pub aliases: Vec<Alias>,
    /// Numbers of availability zones.
    pub azs: Vec<(i32, String)>,
    /// Numbers of networks.
    pub networks: Vec<(i32, String)>,
    /// Numbers of groups and links.
    pub groups: Vec<Group>,
    /// For records that name no domain of their own, and for aliases.
    pub root_domain: String,
    /// Also records by index.
    pub include_index: bool,
}

/// The blob's JSON. Keys are in upstream's order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Records {
    /// `[address, name]`, for /etc/hosts.
    pub records: Vec<[String; 2]>,
    /// What agents compare.
    pub version: i64,
    /// What the columns of `record_infos` are.
    pub record_keys: [&'static str; 13],
    /// For bosh-dns.
    pub record_infos: Vec<Vec<Value>>,
    /// Name to what it stands for.
    pub aliases: BTreeMap<String, Vec<Value>>,
}

const KEYS: [&str; 13] = [
    "id",
    "num_id",
    "instance_group",
    "group_ids",
    "az",
    "az_id",
    "network",
    "network_id",
    "deployment",
    "ip",
    "domain",
    "agent_id",
    "instance_index",
];

impl Records {
    /// Makes the blob's contents of that version.
    pub fn new(input: &Input, version: i64) -> Self {
        let numbers = |pairs: &[(i32, String)]| -> HashMap<String, String> {
            pairs
                .iter()
                .map(|(id, name)| (name.clone(), id.to_string()))
                .collect()
        };
        let (azs, networks) = (numbers(&input.azs), numbers(&input.networks));
        let groups: HashMap<(&str, &str, &str), String> = input
            .groups
            .iter()
            .map(|group| {
                let key = (
                    group.kind.as_str(),
                    group.name.as_str(),
                    group.deployment.as_str(),
                );
                (key, group.id.to_string())
            })
            .collect();
        let mut made = Self {
            records: Vec::with_capacity(input.records.len()),
            version,
            record_keys: KEYS,
            record_infos: Vec::with_capacity(input.records.len()),
            aliases: BTreeMap::new(),
        };
        for record in &input.records {
            let uuid = record.uuid.as_deref().unwrap_or_default();
            let group = record.instance_group.as_deref().unwrap_or_default();
            let network = record.network.as_deref().unwrap_or_default();
            let deployment = record.deployment.as_deref().unwrap_or_default();
            let domain = record.domain.as_deref().unwrap_or(&input.root_domain);
            let name = |host: &str| {
                let (group, deployment) = (canonical(group), canonical(deployment));
                format!(
                    "{host}.{group}.{}.{deployment}.{domain}",
                    canonical(network)
                )
            };
            made.records.push([record.ip.clone(), name(uuid)]);
            if input.include_index {
                let index = record.index.to_string();
                made.records.push([record.ip.clone(), name(&index)]);
            }
            let number = |kind, name| {
                let known = groups.get(&(kind, name, deployment));
                known.cloned().unwrap_or_default()
            };
            let mut group_ids = vec![number("instance-group", group)];
            let links = links(record);
            group_ids.extend(links.iter().map(|link| number("link", link)));
            let numbered = input.instance_numbers.get(uuid);
            made.record_infos.push(vec![
                json!(uuid),
                json!(numbered.map(i32::to_string).unwrap_or_default()),
                json!(canonical(group)),
                json!(group_ids),
                json!(record.az),
                json!(record.az.as_ref().and_then(|az| azs.get(az))),
                json!(canonical(network)),
                json!(networks.get(network)),
                json!(canonical(deployment)),
                json!(record.ip),
                json!(domain),
                json!(record.agent_id),
                json!(record.index),
            ]);
        }
        for alias in &input.aliases {
            let domain = alias.domain.clone().unwrap_or_default();
            made.aliases.entry(domain).or_default().push(json!({
                "root_domain": input.root_domain,
                "group_id": alias.group_id,
                "health_filter": alias.health_filter,
                "initial_health_check": alias.initial_health_check,
                "placeholder_type": alias.placeholder_type,
            }));
        }
        made
    }
}

fn links(record: &InstanceRecord) -> Vec<String> {
    let parsed: Option<Vec<Value>> = record
        .links_json
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    let names = parsed.into_iter().flatten();
    names
        .filter_map(|link| link["name"].as_str().map(str::to_string))
        .collect()
}

/// Upstream: `dns/canonicalizer.rb`.
fn canonical(name: &str) -> String {
    name.chars()
        .map(|c| match c.to_ascii_lowercase() {
            '_' => '-',
            other => other,
        })
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_each_kind() {
        let input = Input {
            records: vec![InstanceRecord {
                id: 9,
                uuid: Some("u-1".into()),
                index: 4,
                ip: "10.244.0.5".into(),
                az: Some("z1".into()),
                instance_group: Some("Redis_Cache".into()),
                network: Some("default".into()),
                deployment: Some("my.dep".into()),
                agent_id: Some("agent".into()),
                domain: None,
                links_json: Some(r#"[{"name": "redis-conn"}]"#.into()),
            }],
            instance_numbers: [("u-1".to_string(), 77)].into(),
            aliases: vec![Alias {
                domain: Some("redis.internal".into()),
                health_filter: Some("healthy".into()),
                initial_health_check: None,
                group_id: Some("3".into()),
                placeholder_type: None,
            }],
            azs: vec![(1, "z1".into())],
            networks: vec![(2, "default".into())],
            groups: vec![
                Group {
                    id: 3,
                    name: "Redis_Cache".into(),
                    kind: "instance-group".into(),
                    deployment: "my.dep".into(),
                },
                Group {
                    id: 4,
                    name: "redis-conn".into(),
                    kind: "link".into(),
                    deployment: "my.dep".into(),
                },
            ],
            root_domain: "bosh".into(),
            include_index: true,
        };
        insta::assert_json_snapshot!(Records::new(&input, 12));
    }
}
