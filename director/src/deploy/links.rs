//! Keeps links: what a deployment offers and wants, and what came of it.
//!
//! Upstream: links/links_manager.rb.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Error;
use super::scope::Scope;
use crate::db::links::{NewConsumerIntent, NewProviderIntent};
use crate::db::{self, InstanceId, LinkId, LinkProviderIntentId};
use crate::links::{External, Others, Provider, Resolved};
use crate::manifest::Desired;

/// Links that other deployments offer, by what their last deploy left.
pub async fn others(scope: &Scope, desired: &Desired) -> Result<Others, Error> {
    let mut others = Others {
        deployments: db::deployments::names(scope.db())
            .await?
            .into_iter()
            .collect(),
        ..Others::default()
    };
    for name in named(desired) {
        if name == scope.name() {
            continue;
        }
        for row in db::links::offered_by(scope.db(), &name, true).await? {
            let content = row
                .content
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok());
            let content: Value = content.unwrap_or(Value::Null);
            others.providers.push(External {
                id: i64::from(row.id.0),
                deployment: row.deployment,
                provider: Provider {
                    kind: "job".into(),
                    instance_group: row.instance_group,
                    owner: row.provider,
                    name: row.name.unwrap_or_else(|| row.original_name.clone()),
                    original_name: row.original_name,
                    link_type: row.kind,
                    shared: row.shared,
                    consumable: true,
                    custom: false,
                    aliases: Value::Null,
                    properties: content.get("properties").cloned().unwrap_or(Value::Null),
                    content,
                },
            });
        }
    }
    Ok(others)
}

/// Deployments that some `consumes` names.
fn named(desired: &Desired) -> Vec<String> {
    let mut names: Vec<String> = desired
        .instance_groups
        .iter()
        .flat_map(|group| &group.jobs)
        .flat_map(|job| job.consumes.values())
        .chain(
            desired
                .variables
                .iter()
                .flat_map(|variable| variable.consumes.values()),
        )
        .filter_map(|consumes| consumes.get("deployment")?.as_str().map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A deployment's links as they are in the database: instance group -> the links its instances use.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// The pass over the links that this deploy is.
    pub serial: i32,
    links: BTreeMap<String, Vec<LinkId>>,
}

/// Writes `resolved` down under a new serial number.
pub async fn keep(scope: &Scope, resolved: &Resolved) -> Result<Kept, Error> {
    let id = scope.deployment.id;
    let tx = scope.db().begin().await?;
    let serial = db::deployments::next_links_serial(&tx, id).await?;
    let mut kept = Kept {
        serial,
        ..Kept::default()
    };
    let mut intents: Vec<LinkProviderIntentId> = Vec::new();
    for provider in &resolved.providers {
        let row = db::links::upsert_provider(
            &tx,
            id,
            &provider.instance_group,
            &provider.owner,
            &provider.kind,
            serial,
        )
        .await?;
        let intent = db::links::upsert_provider_intent(
            &tx,
            NewProviderIntent {
                provider: row.id,
                original_name: provider.original_name.clone(),
                kind: provider.link_type.clone(),
                name: Some(provider.name.clone()),
                content: Some(provider.content.clone()).filter(|content| !content.is_null()),
                shared: provider.shared,
                consumable: provider.consumable,
                metadata: Some(metadata(provider)),
                serial_id: serial,
            },
        )
        .await?;
        intents.push(intent.id);
    }
    for consumer in &resolved.consumers {
        let row = db::links::upsert_consumer(
            &tx,
            id,
            &consumer.instance_group,
            &consumer.owner,
            &consumer.kind,
            serial,
        )
        .await?;
        let intent = db::links::upsert_consumer_intent(
            &tx,
            NewConsumerIntent {
                consumer: row.id,
                original_name: consumer.name.clone(),
                kind: consumer.link_type.clone(),
                name: Some(consumer.alias.clone()),
                optional: consumer.optional,
                blocked: consumer.blocked,
                metadata: Some(Value::Object(consumer.metadata.clone())),
                serial_id: serial,
            },
        )
        .await?;
        let Some(found) = &consumer.found else {
            continue;
        };
        let provider = match (found.provider, found.external) {
            (Some(index), _) => intents.get(index).copied(),
            (None, Some(id)) => i32::try_from(id).ok().map(LinkProviderIntentId),
            (None, None) => None,
        };
        let link =
            db::links::create(&tx, provider, intent.id, &consumer.name, &found.content).await?;
        kept.links
            .entry(consumer.instance_group.clone())
            .or_default()
            .push(link.id);
    }
    tx.commit().await?;
    Ok(kept)
}

/// Notes that these instances (with their group) use the links of this deploy.
pub async fn bind(
    scope: &Scope,
    kept: &Kept,
    instances: &[(InstanceId, String)],
) -> Result<(), Error> {
    let tx = scope.db().begin().await?;
    for (id, group) in instances {
        for link in kept.links.get(group).into_iter().flatten() {
            db::links::bind(&tx, *id, *link, kept.serial).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Forgets what this deploy did not see any more; for its end.
pub async fn remove_stale(scope: &Scope, kept: &Kept) -> Result<(), Error> {
    let tx = scope.db().begin().await?;
    db::links::remove_stale(&tx, scope.deployment.id, kept.serial).await?;
    Ok(tx.commit().await?)
}

fn metadata(provider: &Provider) -> Value {
    let mut metadata = Map::new();
    metadata.insert("custom".into(), json!(provider.custom));
    if !provider.aliases.is_null() {
        metadata.insert("dns_aliases".into(), provider.aliases.clone());
    }
    Value::Object(metadata)
}
