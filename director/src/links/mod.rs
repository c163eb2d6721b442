//! Links: what jobs offer to each other and want of each other, across groups and deployments.
//!
//! [`resolve`] matches every link that a job consumes with one provider, and yields what `link('x')` in a
//! template sees. Pure: links of other deployments are handed in as [`External`].
//!
//! Upstream: links/links_parser.rb, links_manager.rb, link_{providers,consumers}_parser.rb.

use std::collections::BTreeMap;

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
    /// What the templates of instances of `group` see: job -> link name -> spec.
    pub fn of_group(&self, group: &str) -> BTreeMap<&str, Map<String, Value>> {
        let mut jobs: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for consumer in &self.consumers {
            if consumer.instance_group != group || consumer.kind != "job" {
                continue;
            }
            if let Some(found) = &consumer.found {
                jobs.entry(consumer.owner.as_str())
                    .or_default()
                    .insert(consumer.name.clone(), found.content.clone());
            }
        }
        jobs
    }
}

/// A link on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// Who offers it: `job`, or `disk` for a named disk.
    pub kind: String,
    /// Its instance group.
    pub instance_group: String,
    /// The job, or the disk.
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
    /// DNS aliases for it.
    pub aliases: Vec<Value>,
    /// What it provides: instances, properties, addresses. Placeholders unfilled.
    pub content: Value,
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
    /// Name in the job's spec.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub link_type: String,
    /// Whether it does without.
    pub optional: bool,
    /// Whether it was turned off (`consumes: {x: nil}`).
    pub blocked: bool,
    /// What was found for it.
    pub found: Option<Found>,
}

/// What was found for a consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Index into [`Resolved::providers`], when the provider is of this deployment.
    pub provider: Option<usize>,
    /// Row id of the provider's intent, when it is of another deployment.
    pub external: Option<i64>,
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
