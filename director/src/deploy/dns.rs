//! Sends DNS records to agents, if the director does local DNS at all.

use std::collections::{BTreeSet, HashMap};

use bosh_director_api::Code;
use bosh_protocol::AgentId;
use serde_json::Value;

use super::plan::names::Index;
use super::scope::Scope;
use super::subject::Subject;
use super::{Error, steps};
use crate::db;
use crate::db::dns::Alias;
use crate::dns::Target;
use crate::links::Resolved;

impl From<crate::dns::Error> for Error {
    fn from(error: crate::dns::Error) -> Self {
        Self::because(Code::Generic.number(), error)
    }
}

/// Publishes what is written down and sends it to every agent.
pub async fn publish(scope: &Scope) -> Result<(), Error> {
    Ok(scope.director.dns.broadcast(&scope.director).await?)
}

/// Publishes what is written down and sends it to the agent of `subject`; the others learn of it soon.
pub async fn publish_to(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    let Some(vm) = &subject.vm else { return Ok(()) };
    let target = Target {
        agent_id: AgentId::from(vm.agent_id.clone().unwrap_or_default()),
        instance: subject.name(),
        stemcell_api_version: subject.api_version().unwrap_or(1),
    };
    Ok(scope
        .director
        .dns
        .publish_to(&scope.director, vec![target])
        .await?)
}

/// Instances whose records differ from those written down, by uuid. Those without a VM have none to differ.
pub async fn changed(scope: &Scope, subjects: &[&Subject]) -> Result<BTreeSet<String>, Error> {
    let mut known: HashMap<String, BTreeSet<Key>> = HashMap::new();
    for row in db::dns::records(scope.db()).await? {
        if row.deployment.as_deref() == Some(scope.name()) {
            let record = (
                row.ip,
                row.az,
                row.instance_group,
                row.network,
                row.agent_id,
                row.domain,
                row.links_json,
            );
            known
                .entry(row.uuid.unwrap_or_default())
                .or_default()
                .insert(record);
        }
    }
    let differs = |subject: &&&Subject| {
        let wanted: BTreeSet<Key> = steps::dns::desired(scope, subject)
            .into_iter()
            .map(|new| {
                (
                    new.ip,
                    new.az,
                    new.instance_group,
                    new.network,
                    new.agent_id,
                    new.domain,
                    new.links_json,
                )
            })
            .collect();
        subject.vm.is_some() && known.get(&subject.uuid) != Some(&wanted)
    };
    Ok(subjects
        .iter()
        .filter(differs)
        .map(|subject| subject.uuid.clone())
        .collect())
}

/// What tells two records apart.
type Key = (
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
);

/// Writes the aliases of the deployment's links down, if they changed.
pub async fn write_aliases(scope: &Scope, links: &Resolved, index: &Index) -> Result<(), Error> {
    let mut wanted = Vec::new();
    for provider in &links.providers {
        let key = (
            "link".to_owned(),
            provider.group_name(),
            scope.name().to_owned(),
        );
        let number = index.groups.get(&key).map(i64::to_string);
        for alias in provider.aliases.as_array().into_iter().flatten() {
            let text = |key: &str| alias.get(key).and_then(Value::as_str).map(str::to_owned);
            wanted.push(Alias {
                domain: text("domain"),
                health_filter: text("health_filter"),
                initial_health_check: text("initial_health_check"),
                group_id: number.clone(),
                placeholder_type: text("placeholder_type"),
            });
        }
    }
    let id = scope.deployment.id;
    let tx = scope.db().begin().await?;
    if db::dns::deployment_aliases(&tx, id).await? != wanted {
        db::dns::set_aliases(&tx, id, &wanted).await?;
    }
    Ok(tx.commit().await?)
}
