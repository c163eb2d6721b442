//! DNS records of an instance. Upstream: dns/local_dns_records_repo.rb.

use serde_json::{Value, json};

use crate::db;
use crate::db::InstanceId;
use crate::db::dns::NewRecord;
use crate::db::vms::Vm;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// The records that `subject` should have: one per address.
pub fn desired(scope: &Scope, subject: &Subject) -> Vec<NewRecord> {
    records(
        scope,
        &Named {
            id: subject.id,
            group: &subject.group,
            az: subject.az.as_deref(),
            vm: subject.vm.as_ref(),
            networks: subject.spec.0.get("networks"),
            links: &subject.link_groups,
        },
    )
}

/// What an instance's records are made of.
pub(crate) struct Named<'a> {
    pub(crate) id: InstanceId,
    pub(crate) group: &'a str,
    pub(crate) az: Option<&'a str>,
    pub(crate) vm: Option<&'a Vm>,
    pub(crate) networks: Option<&'a Value>,
    pub(crate) links: &'a [String],
}

pub(crate) fn records(scope: &Scope, named: &Named<'_>) -> Vec<NewRecord> {
    let links: Vec<Value> = named
        .links
        .iter()
        .map(|name| json!({"name": name}))
        .collect();
    let links = Value::Array(links).to_string();
    let networks = named.networks.and_then(Value::as_object);
    networks
        .into_iter()
        .flatten()
        .filter_map(|(name, network)| {
            let ip = network.get("ip")?.as_str()?;
            Some(NewRecord {
                ip: ip.to_owned(),
                az: named.az.map(str::to_owned),
                instance_group: Some(named.group.to_owned()),
                network: Some(name.clone()),
                deployment: Some(scope.name().to_owned()),
                instance_id: Some(named.id),
                agent_id: named.vm.and_then(|vm| vm.agent_id.clone()),
                domain: Some(scope.settings.root_domain.clone()),
                links_json: Some(links.clone()),
            })
        })
        .collect()
}

/// Writes the records of `subjects` down; whether any changed.
pub async fn write(scope: &Scope, subjects: &[&Subject]) -> Result<bool, Error> {
    let mut changed = false;
    let tx = scope.db().begin().await?;
    for subject in subjects {
        changed |= db::dns::set_records(&tx, subject.id, &desired(scope, subject)).await?;
    }
    tx.commit().await?;
    Ok(changed)
}
