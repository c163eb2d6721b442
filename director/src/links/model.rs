//! What one deployment's links come to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What one deployment's links come to. All of it is kept in the database (`link_providers`,
/// `link_provider_intents`, `link_consumers`, `link_consumer_intents`, `links`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Links on offer.
    pub providers: Vec<Provider>,
    /// Links wanted, each with what it was matched with.
    pub consumers: Vec<Consumer>,
}

impl Resolved {
    /// What the templates of instances of `group` see: job -> link name -> spec. Placeholders unfilled.
    pub fn of_group(&self, group: &str) -> BTreeMap<&str, Map<String, Value>> {
        let mut jobs: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for consumer in &self.consumers {
            if consumer.instance_group != group || consumer.kind != "job" {
                continue;
            }
            let links = jobs.entry(consumer.owner.as_str()).or_default();
            if let Some(found) = &consumer.found {
                let mut content = found.content.clone();
                if let Value::Object(map) = &mut content {
                    map.insert("group_name".into(), Value::String(found.group_name.clone()));
                }
                links.insert(consumer.name.clone(), content);
            }
        }
        jobs
    }

    /// What `.bosh/links.json` of a job says: its links on offer, by name and type.
    pub fn offered_by<'a>(
        &'a self,
        group: &'a str,
        job: &'a str,
    ) -> impl Iterator<Item = &'a Provider> {
        self.providers
            .iter()
            .filter(move |provider| provider.instance_group == group && provider.owner == job)
    }
}

/// A link on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// Who offers it: `job`, `disk` for a named disk, `manual` for one written in a `consumes`.
    pub kind: String,
    /// Its instance group.
    pub instance_group: String,
    /// The job; for a disk its instance group again.
    pub owner: String,
    /// Name in the job's spec.
    pub original_name: String,
    /// Name others know it by: `as`, else the name in the spec.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub link_type: String,
    /// Whether other deployments may have it.
    pub shared: bool,
    /// Whether anybody may have it (`provides: {x: nil}` says no).
    pub consumable: bool,
    /// Whether it was defined in the manifest (`custom_provider_definitions`).
    pub custom: bool,
    /// DNS aliases for it, as written; null for none.
    pub aliases: Value,
    /// Its properties. Placeholders unfilled.
    pub properties: Value,
    /// What it provides: instances, properties, addresses; null when nobody can want it. Placeholders unfilled.
    pub content: Value,
}

impl Provider {
    /// `<name>-<type>`: what DNS groups of links are called by.
    pub fn group_name(&self) -> String {
        format!("{}-{}", self.name, self.link_type)
    }
}

/// A link wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consumer {
    /// Who wants it: `job`, or `variable` for a certificate.
    pub kind: String,
    /// Its instance group, empty for a variable.
    pub instance_group: String,
    /// The job, or the variable.
    pub owner: String,
    /// Name in the job's spec; of a variable `alternative_name` or `common_name`.
    pub name: String,
    /// Name it is looked up by: `from`, else the name in the spec.
    pub alias: String,
    /// Type.
    #[serde(rename = "type")]
    pub link_type: String,
    /// Whether it does without.
    pub optional: bool,
    /// Whether it was turned off (`consumes: {x: nil}`).
    pub blocked: bool,
    /// `link_consumer_intents.metadata`: `explicit_link`, `manual_link`, `from_deployment`, `network`,
    /// `ip_addresses`, `wildcard`.
    pub metadata: Map<String, Value>,
    /// What was found for it.
    pub found: Option<Found>,
}

impl Consumer {
    /// Whether `key` is set in its metadata.
    pub fn is(&self, key: &str) -> bool {
        self.metadata.get(key) == Some(&Value::Bool(true))
    }

    /// A text in its metadata.
    pub fn says(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }
}

/// What was found for a consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Index into [`Resolved::providers`], when the provider is of this deployment.
    pub provider: Option<usize>,
    /// Row id of the provider's intent, when it is of another deployment.
    pub external: Option<i64>,
    /// `<name>-<type>` of the provider.
    pub group_name: String,
    /// What the template sees, addresses chosen. Placeholders unfilled.
    pub content: Value,
}

/// A link on offer in another deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct External {
    /// Row id of its `link_provider_intents`.
    pub id: i64,
    /// The deployment.
    pub deployment: String,
    /// The link. Its `content` is as that deployment's last deploy left it.
    pub provider: Provider,
}

/// The other deployments.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// Names of all deployments.
    pub deployments: BTreeSet<String>,
    /// Links that any of them offers, of the serial id it was last deployed with.
    pub providers: Vec<External>,
}
