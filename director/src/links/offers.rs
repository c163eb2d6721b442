//! Links on offer: of a job's spec, and of the manifest's `provides` and `custom_provider_definitions`.
//!
//! Upstream: links/link_providers_parser.rb, link_helpers.rb.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::model::Provider;
use crate::manifest::{Desired, Error, InstanceGroup, Job, Kind};

/// Every link that a deployment offers, contents still to come.
pub(super) fn read(desired: &Desired) -> Result<Vec<Provider>, Error> {
    let mut all = Vec::new();
    for group in &desired.instance_groups {
        for job in &group.jobs {
            of_job(group, job, &mut all)?;
        }
        for disk in group.disks.iter().filter(|disk| !disk.name.is_empty()) {
            all.push(Provider {
                kind: "disk".into(),
                instance_group: group.name.clone(),
                owner: group.name.clone(),
                original_name: disk.name.clone(),
                name: disk.name.clone(),
                link_type: "disk".into(),
                shared: false,
                consumable: true,
                custom: false,
                aliases: Value::Null,
                properties: json!({"name": disk.name}),
                content: json!({
                    "deployment_name": desired.name,
                    "properties": {"name": disk.name},
                    "networks": [],
                    "instances": [],
                }),
            });
        }
    }
    Ok(all)
}

fn fail(errors: Vec<String>) -> Result<(), Error> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::new(Kind::Director, errors.join("\n")))
    }
}

fn text<'a>(definition: &'a Value, key: &str) -> &'a str {
    definition
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn of_job(group: &InstanceGroup, job: &Job, all: &mut Vec<Provider>) -> Result<(), Error> {
    check_custom(group, job)?;
    let mut errors = Vec::new();
    let definitions = job
        .custom_providers
        .iter()
        .map(|definition| (definition, true))
        .chain(
            job.catalog
                .spec
                .provides
                .iter()
                .map(|definition| (definition, false)),
        );
    for (definition, custom) in definitions {
        let name = text(definition, "name");
        let mut provider = Provider {
            kind: "job".into(),
            instance_group: group.name.clone(),
            owner: job.name.clone(),
            original_name: name.to_owned(),
            name: name.to_owned(),
            link_type: text(definition, "type").to_owned(),
            shared: false,
            consumable: true,
            custom,
            aliases: Value::Null,
            properties: Value::Null,
            content: Value::Null,
        };
        if let Some(stated) = job.provides.get(name) {
            match apply(stated, &mut provider, group, job) {
                Ok(()) => {}
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            }
        }
        let wanted = definition.get("properties").and_then(Value::as_array);
        match properties(job, wanted.map(Vec::as_slice).unwrap_or_default()) {
            Ok(properties) => {
                provider.properties = Value::Object(properties);
                all.push(provider);
            }
            Err(more) => errors.extend(more),
        }
    }
    fail(errors)
}

/// What the manifest says of a link on offer.
fn apply(
    stated: &Value,
    provider: &mut Provider,
    group: &InstanceGroup,
    job: &Job,
) -> Result<(), String> {
    let place = format!("in job '{}' in instance group '{}'", job.name, group.name);
    let name = &provider.original_name;
    match stated {
        Value::String(nil) if nil == "nil" => {
            provider.consumable = false;
            Ok(())
        }
        Value::Object(map) => {
            if map.contains_key("name") || map.contains_key("type") {
                return Err(format!(
                    "Cannot specify 'name' or 'type' properties in the manifest for link '{name}' {place}. Please provide \
                     these keys in the release only."
                ));
            }
            if let Some(alias) = map.get("as").and_then(Value::as_str) {
                provider.name = alias.to_owned();
            }
            provider.shared = map.get("shared") == Some(&Value::Bool(true));
            provider.aliases = map.get("aliases").cloned().unwrap_or(Value::Null);
            Ok(())
        }
        _ => Err(format!(
            "Provider '{name}' {place} specified in the manifest should only be a hash or string 'nil'"
        )),
    }
}

fn check_custom(group: &InstanceGroup, job: &Job) -> Result<(), Error> {
    let place = format!("in job '{}' in instance group '{}'", job.name, group.name);
    let mut errors = Vec::new();
    for definition in &job.custom_providers {
        for (key, label) in [("name", "Name"), ("type", "Type")] {
            if text(definition, key).is_empty() {
                errors.push(format!(
                    "{label} for custom link provider definition in manifest {place} must be a valid non-empty string."
                ));
            }
        }
        let name = text(definition, "name");
        if job
            .catalog
            .spec
            .provides
            .iter()
            .any(|other| text(other, "name") == name)
        {
            errors.push(format!(
                "Custom provider '{name}' {place} is already defined in release '{}'",
                job.release_name
            ));
        }
    }
    let (mut seen, mut reported) = (BTreeSet::new(), BTreeSet::new());
    for definition in &job.custom_providers {
        let name = text(definition, "name");
        if !seen.insert(name) && reported.insert(name) {
            errors.push(format!(
                "Custom provider '{name}' {place} is defined multiple times in manifest."
            ));
        }
    }
    fail(errors)
}

/// The properties a link shares: from the manifest, else by default of the job's spec.
fn properties(job: &Job, wanted: &[Value]) -> Result<Map<String, Value>, Vec<String>> {
    let (mut mapped, mut errors) = (Map::new(), Vec::new());
    for name in wanted.iter().filter_map(Value::as_str) {
        let value = match written(&job.given, name) {
            Some(value) => value.clone(),
            None => match job.catalog.spec.properties.get(name) {
                Some(definition) => definition.get("default").cloned().unwrap_or(Value::Null),
                None => {
                    errors.push(format!(
                        "Link property {name} in template {} is not defined in release spec",
                        job.name
                    ));
                    continue;
                }
            },
        };
        crate::manifest::properties::set(&mut mapped, name, value);
    }
    if errors.is_empty() {
        Ok(mapped)
    } else {
        Err(errors)
    }
}

/// What is written under the dotted name, be it null.
fn written<'a>(properties: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut keys = name.split('.');
    let mut value = properties.get(keys.next()?)?;
    for key in keys {
        value = value.as_object()?.get(key)?;
    }
    Some(value)
}
