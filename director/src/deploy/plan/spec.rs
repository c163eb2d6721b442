//! An instance's spec: what the database keeps, and the excerpts that agents and templates see.
//!
//! Upstream: deployment_plan/instance_spec.rb, instance_group.rb (`spec`, `package_spec`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::decision::{Bound, Rendered};
use super::names::record;
use super::placement::PlacedInstance;
use crate::links;
use crate::manifest::resolved::{Desired, Lifecycle};
use crate::manifest::{Error, InstanceGroup, Kind, catalog};
use crate::variables::Values;
use crate::variables::interpolate::{Rules, interpolate};

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

/// What templates see of it beside properties and links.
const TEMPLATE_KEYS: [&str; 12] = [
    "deployment",
    "job",
    "index",
    "bootstrap",
    "name",
    "id",
    "az",
    "networks",
    "properties_need_filtering",
    "dns_domain_name",
    "persistent_disk",
    "address",
];

/// What templates see of a link.
const LINK_KEYS: [&str; 10] = [
    "address",
    "default_network",
    "deployment_name",
    "domain",
    "group_name",
    "instance_group",
    "instances",
    "properties",
    "use_link_dns_names",
    "use_short_dns_addresses",
];

fn pick(map: &Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// `job` of a spec: the group's jobs, in upstream's words its templates. Null if it has none.
pub(super) fn job(group: &InstanceGroup) -> Value {
    let Some(first) = group.jobs.first() else {
        return Value::Null;
    };
    let templates: Vec<Value> = group
        .jobs
        .iter()
        .map(|job| {
            let mut entry = json!({
                "name": job.name,
                "version": job.catalog.version,
                "sha1": job.catalog.sha1,
                "blobstore_id": job.catalog.blobstore_id,
            });
            if !job.catalog.spec.logs.is_null() {
                entry["logs"] = job.catalog.spec.logs.clone();
            }
            entry
        })
        .collect();
    json!({
        "name": group.name,
        "templates": templates,
        "template": first.name,
        "version": first.catalog.version,
    })
}

/// `packages` of a spec: those compiled already.
pub(super) fn packages(group: &InstanceGroup, bound: &Bound) -> Map<String, Value> {
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    let mut all = Map::new();
    for package in &group.packages {
        let key = (
            package.id,
            group.stemcell.os.clone(),
            group.stemcell.version.clone(),
        );
        let Some(compiled) = bound.compiled.0.get(&key) else {
            continue;
        };
        // Of two packages of one name and one fingerprint, the one uploaded last.
        if newest
            .get(package.name.as_str())
            .is_some_and(|id| *id >= package.id)
        {
            continue;
        }
        newest.insert(&package.name, package.id);
        all.insert(package.name.clone(), json!(compiled));
    }
    all
}

impl Spec {
    /// The spec of an instance. Rendered templates are added by [`Spec::add_rendered`].
    pub fn build(
        desired: &Desired,
        group: &InstanceGroup,
        placed: &PlacedInstance,
        stemcell: &catalog::Stemcell,
        bound: &Bound,
    ) -> Self {
        let properties: Map<String, Value> = group
            .jobs
            .iter()
            .map(|job| (job.name.clone(), Value::Object(job.properties.clone())))
            .collect();
        let spec = json!({
            "deployment": desired.name,
            "job": job(group),
            "index": placed.index,
            "bootstrap": placed.bootstrap,
            "lifecycle": match group.lifecycle {
                Lifecycle::Service => "service",
                Lifecycle::Errand => "errand",
            },
            "name": group.name,
            "id": placed.uuid,
            "az": placed.az,
            "networks": placed.networks,
            "vm_type": group.vm_type,
            "vm_resources": group.vm_resources,
            "stemcell": {"name": stemcell.name, "version": stemcell.version},
            "env": group.env,
            "packages": packages(group, bound),
            "properties": properties,
            "properties_need_filtering": true,
            "dns_domain_name": desired.settings.root_domain,
            "address": placed.address,
            "update": group.update.spec(),
        });
        let mut spec = match spec {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        match group.disks.as_slice() {
            [] => {
                spec.insert("persistent_disk".into(), json!(0));
            }
            [disk] if disk.name.is_empty() => {
                spec.insert("persistent_disk".into(), json!(disk.size));
                spec.insert(
                    "persistent_disk_type".into(),
                    json!({
                        "name": disk.disk_type,
                        "disk_size": disk.size,
                        "cloud_properties": disk.cloud_properties,
                    }),
                );
            }
            _ => {}
        }
        let mut spec = Self(spec);
        if let Some(rendered) = bound.rendered.get(&placed.uuid) {
            spec.add_rendered(rendered);
        }
        spec
    }

    /// Adds what the agent of a new VM says of its networks: addresses in dynamic networks are known only then. Templates
    /// have to be rendered once more after this. Upstream: apply_vm_spec_step.rb.
    pub fn add_agent_networks(&mut self, networks: &Value) {
        if let Some(Value::Object(own)) = self.0.get_mut("networks") {
            super::settings::learn(own, networks);
        }
    }

    /// Adds what came of the templates.
    pub fn add_rendered(&mut self, rendered: &Rendered) {
        self.0
            .insert("template_hashes".into(), json!(rendered.template_hashes));
        if let Some((blobstore_id, sha1)) = &rendered.archive {
            self.0.insert(
                "rendered_templates_archive".into(),
                json!({"blobstore_id": blobstore_id, "sha1": sha1}),
            );
        }
        self.0.insert(
            "configuration_hash".into(),
            json!(rendered.configuration_hash),
        );
    }

    /// What the agent is sent with `prepare` and `apply`.
    pub fn apply(&self) -> Map<String, Value> {
        pick(&self.0, &APPLY_KEYS)
    }

    /// What the agent of a VM without jobs is sent: the spec with `job` empty.
    pub fn jobless(&self) -> Map<String, Value> {
        let mut spec = self.apply();
        spec.insert("job".into(), Value::Object(Map::new()));
        spec
    }

    /// What the templates of all instances of the group see alike: `properties` with secrets filled in, and `links`,
    /// both by job.
    ///
    /// # Errors
    /// Placeholders that cannot be filled in, in upstream's text with the group named.
    pub fn template_shared(
        &self,
        links: &links::Resolved,
        values: &Values,
        foreign: &BTreeMap<String, Values>,
    ) -> Result<Value, Error> {
        let group = self.text("name");
        let mut errors = Vec::new();
        let mut properties = Map::new();
        for (job, own) in self
            .0
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            match interpolate(own, values, Rules::default()) {
                Ok(own) => {
                    properties.insert(job.clone(), own);
                }
                Err(error) => errors.push(indented(
                    &format!("- Unable to render templates for job '{job}'. Errors are:"),
                    error.to_string().trim(),
                )),
            }
        }
        let mut shared = Map::new();
        if errors.is_empty() {
            shared.insert("properties".into(), Value::Object(properties));
            shared.insert(
                "links".into(),
                links_of(self, links, values, foreign, &mut errors),
            );
        }
        if errors.is_empty() {
            return Ok(Value::Object(shared));
        }
        Err(Error::new(
            Kind::Director,
            indented(
                &format!("- Unable to render jobs for instance group '{group}'. Errors are:"),
                &errors.join("\n"),
            ),
        ))
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// What the templates of the instance see beside what its group has in common.
    ///
    /// # Errors
    /// Names that make no DNS name.
    pub fn template(&self) -> Result<Value, Error> {
        let mut spec = pick(&self.0, &TEMPLATE_KEYS);
        let mut ip = Value::Null;
        let has_jobs = self.0.get("job").is_some_and(|job| !job.is_null());
        let index = self
            .0
            .get("index")
            .map(Value::to_string)
            .unwrap_or_default();
        if let Some(Value::Object(networks)) = spec.get_mut("networks") {
            for (name, settings) in networks.iter_mut() {
                let Value::Object(settings) = settings else {
                    continue;
                };
                let defaults = settings.get("default").and_then(Value::as_array);
                let is_default =
                    |what: &str| defaults.is_some_and(|all| all.iter().any(|name| name == what));
                if is_default("addressable") || (ip.is_null() && is_default("gateway")) {
                    ip = settings.get("ip").cloned().unwrap_or(Value::Null);
                }
                if has_jobs {
                    let name = record(
                        &index,
                        self.text("name"),
                        name,
                        self.text("deployment"),
                        self.text("dns_domain_name"),
                    )?;
                    settings.insert("dns_record_name".into(), Value::String(name));
                }
                if settings.get("type").and_then(Value::as_str) == Some("dynamic") {
                    // Known only when the VM is there; templates get something that looks like an address.
                    for key in ["ip", "netmask", "gateway"] {
                        let slot = settings.entry(key).or_insert(Value::Null);
                        if slot.is_null() {
                            *slot = json!("127.0.0.1");
                        }
                    }
                }
            }
        }
        spec.insert("ip".into(), ip);
        Ok(Value::Object(spec))
    }
}

fn links_of(
    spec: &Spec,
    links: &links::Resolved,
    values: &Values,
    foreign: &BTreeMap<String, Values>,
    errors: &mut Vec<String>,
) -> Value {
    let text = |key: &str| spec.0.get(key).and_then(Value::as_str).unwrap_or_default();
    let (deployment, group) = (text("deployment"), text("name"));
    let mut jobs = Map::new();
    for (job, links) in links.of_group(group) {
        let mut own = Map::new();
        for (name, mut content) in links {
            let provider = content
                .get("deployment_name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let theirs = if provider == deployment {
                Some(values)
            } else {
                foreign.get(&provider)
            };
            if let Some(properties) = content
                .get_mut("properties")
                .filter(|properties| !properties.is_null())
            {
                let filled = match theirs {
                    Some(theirs) => interpolate(properties, theirs, Rules::default())
                        .map_err(|error| error.to_string()),
                    None => Err(format!(
                        "- Cannot consume properties from deployment '{provider}'. It was never successfully deployed."
                    )),
                };
                match filled {
                    Ok(filled) => *properties = filled,
                    Err(error) => errors.push(indented(
                        &format!(
                            "- Unable to interpolate link '{name}' properties; provided by '{provider}' deployment. Errors are:"
                        ),
                        error.trim(),
                    )),
                }
            }
            if let Value::Object(content) = content {
                own.insert(name, Value::Object(pick(&content, &LINK_KEYS)));
            }
        }
        jobs.insert(job.to_owned(), Value::Object(own));
    }
    Value::Object(jobs)
}

/// A header with the lines of `body` below it, two spaces in. Upstream: formatter_helper.rb.
pub fn indented(header: &str, body: &str) -> String {
    let mut text = header.to_owned();
    for line in body.split('\n') {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}
