//! DNS names of instances and links, long and short.
//!
//! Long: `<uuid>.<group>.<network>.<deployment>.<root>`. Short: `q-m<instance>n<network>s0.q-g<group>.<root>`,
//! with the numbers under which the database keeps them.
//!
//! Upstream: dns/dns_encoder.rb.

use std::collections::BTreeMap;

use crate::manifest::Error;
use crate::manifest::raw::canonical;

/// The numbers that short names are made of.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// `local_dns_encoded_azs`: name -> id.
    pub azs: BTreeMap<String, i64>,
    /// `local_dns_encoded_networks`: name -> id.
    pub networks: BTreeMap<String, i64>,
    /// `local_dns_encoded_groups`: (type, name, deployment) -> id. The type is `instance-group` or `link`.
    pub groups: BTreeMap<(String, String, String), i64>,
    /// `instances`: uuid -> id.
    pub instances: BTreeMap<String, i64>,
}

/// What a name should stand for.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    /// One instance, or all of the group.
    pub uuid: Option<&'a str>,
    /// `instance-group` or `link`.
    pub group_type: &'a str,
    /// Name of the instance group or of the link.
    pub group: &'a str,
    /// The network whose addresses are wanted.
    pub network: &'a str,
    /// The deployment of the group.
    pub deployment: &'a str,
    /// Zones to restrict it to.
    pub azs: Vec<&'a str>,
    /// `healthy`, `unhealthy`, `all` or `default`.
    pub status: Option<&'a str>,
    /// `synchronous` or `asynchronous`.
    pub initial_health_check: Option<&'a str>,
}

/// Makes a name. `short` decides its kind.
pub fn encode(
    query: &Query<'_>,
    index: &Index,
    root_domain: &str,
    short: bool,
) -> Result<String, Error> {
    let number = |number: Option<&i64>| number.map(i64::to_string).unwrap_or_default();
    let mut octets = Vec::new();
    match query.uuid {
        Some(uuid) if !short => octets.push(uuid.to_owned()),
        uuid => {
            let mut parts: Vec<String> = query
                .azs
                .iter()
                .map(|az| format!("a{}", number(index.azs.get(*az))))
                .collect();
            if short {
                if let Some(uuid) = uuid {
                    parts.push(format!("m{}", number(index.instances.get(uuid))));
                }
                if !query.network.is_empty() {
                    parts.push(format!("n{}", number(index.networks.get(query.network))));
                }
            }
            match query.initial_health_check {
                Some("synchronous") => parts.push("y1".into()),
                Some("asynchronous") => parts.push("y0".into()),
                _ => {}
            }
            let health = match query.status {
                Some("healthy") => 3,
                Some("unhealthy") => 1,
                Some("all") => 4,
                _ => 0,
            };
            parts.push(format!("s{health}"));
            parts.sort();
            octets.push(format!("q-{}", parts.concat()));
        }
    }
    if short {
        let key = (
            query.group_type.to_owned(),
            query.group.to_owned(),
            query.deployment.to_owned(),
        );
        octets.push(format!("q-g{}", number(index.groups.get(&key))));
    } else {
        for part in [query.group, query.network, query.deployment] {
            octets.push(canonical(part)?);
        }
    }
    octets.push(root_domain.to_owned());
    Ok(octets.join("."))
}

/// The name under which a record stands: `<host>.<group>.<network>.<deployment>.<root>`.
///
/// Upstream: dns/dns_name_generator.rb.
pub fn record(
    host: &str,
    group: &str,
    network: &str,
    deployment: &str,
    root_domain: &str,
) -> Result<String, Error> {
    Ok(format!(
        "{host}.{}.{}.{}.{root_domain}",
        canonical(group)?,
        canonical(network)?,
        canonical(deployment)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short() {
        let index = Index {
            azs: [("z1".to_owned(), 1), ("z2".to_owned(), 2)].into(),
            networks: [("default".to_owned(), 4)].into(),
            groups: [(("instance-group".into(), "my_web".into(), "dep".into()), 7)].into(),
            instances: [("u-1".to_owned(), 9)].into(),
        };
        let one = Query {
            uuid: Some("u-1"),
            group_type: "instance-group",
            group: "my_web",
            network: "default",
            deployment: "dep",
            ..Query::default()
        };
        assert_eq!(
            encode(&one, &index, "bosh", false).unwrap(),
            "u-1.my-web.default.dep.bosh"
        );
        assert_eq!(
            encode(&one, &index, "bosh", true).unwrap(),
            "q-m9n4s0.q-g7.bosh"
        );
        let all = Query {
            uuid: None,
            azs: vec!["z2", "z1"],
            status: Some("healthy"),
            ..one
        };
        assert_eq!(
            encode(&all, &index, "bosh", false).unwrap(),
            "q-a1a2s3.my-web.default.dep.bosh"
        );
        assert_eq!(
            encode(&all, &index, "bosh", true).unwrap(),
            "q-a1a2n4s3.q-g7.bosh"
        );
    }
}
