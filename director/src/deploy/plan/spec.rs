//! An instance's spec: what the database keeps, and the excerpts that agents and templates see.
//!
//! Upstream: deployment_plan/instance_spec.rb.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The full spec of an instance, as in `instances.spec_json`. Placeholders in properties are unfilled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spec(pub Map<String, Value>);

/// What an agent is sent.
const APPLY_KEYS: [&str; 13] = [
    "deployment",
    "job",
    "index",
    "name",
    "id",
    "az",
    "networks",
    "packages",
    "dns_domain_name",
    "configuration_hash",
    "persistent_disk",
    "template_hashes",
    "rendered_templates_archive",
];

impl Spec {
    /// What the agent is sent with `prepare` and `apply`.
    pub fn apply(&self) -> Map<String, Value> {
        self.0
            .iter()
            .filter(|(key, _)| APPLY_KEYS.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// What the agent of a VM without jobs is sent: the spec with `job` empty.
    pub fn jobless(&self) -> Map<String, Value> {
        let mut spec = self.apply();
        spec.insert("job".into(), Value::Object(Map::new()));
        spec
    }
}
