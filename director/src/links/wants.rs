//! Links wanted: of a job's spec and the manifest's `consumes`, and of variables.
//!
//! Upstream: links/link_consumers_parser.rb, links_parser.rb.

use serde_json::{Map, Value, json};

use super::model::{Consumer, Others, Provider};
use crate::manifest::{Desired, Error, InstanceGroup, Job, Kind};
use crate::variables::Definition;

/// Every link that a deployment wants. Links written out in the manifest become providers of kind `manual`.
pub(super) fn read(
    desired: &Desired,
    others: &Others,
    providers: &mut Vec<Provider>,
) -> Result<Vec<Consumer>, Error> {
    let mut all = Vec::new();
    for group in &desired.instance_groups {
        for job in &group.jobs {
            of_job(desired, group, job, others, providers, &mut all)?;
        }
    }
    for variable in &desired.variables {
        of_variable(variable, &mut all)?;
    }
    Ok(all)
}

fn of_job(
    desired: &Desired,
    group: &InstanceGroup,
    job: &Job,
    others: &Others,
    providers: &mut Vec<Provider>,
    all: &mut Vec<Consumer>,
) -> Result<(), Error> {
    let mut errors = Vec::new();
    for definition in &job.catalog.spec.consumes {
        let text = |key: &str| {
            definition
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = text("name");
        let mut consumer = Consumer {
            kind: "job".into(),
            instance_group: group.name.clone(),
            owner: job.name.clone(),
            name: name.to_owned(),
            alias: name.to_owned(),
            link_type: text("type").to_owned(),
            optional: definition.get("optional") == Some(&Value::Bool(true)),
            blocked: false,
            metadata: Map::new(),
            found: None,
        };
        match job.consumes.get(name) {
            None => {
                consumer
                    .metadata
                    .insert("explicit_link".into(), json!(false));
            }
            Some(stated) => {
                let found = apply(desired, stated, &mut consumer, others, providers);
                if let Err(more) = found {
                    errors.extend(more);
                    continue;
                }
            }
        }
        // `from: deployment.group.link` of old times means the link.
        if let Some((_, last)) = consumer.alias.rsplit_once('.') {
            consumer.alias = last.to_owned();
        }
        all.push(consumer);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::new(Kind::Director, errors.join("\n")))
    }
}

/// What the manifest says of a link wanted.
fn apply(
    desired: &Desired,
    stated: &Value,
    consumer: &mut Consumer,
    others: &Others,
    providers: &mut Vec<Provider>,
) -> Result<(), Vec<String>> {
    let place = format!(
        "in job '{}' in instance group '{}'",
        consumer.owner, consumer.instance_group
    );
    let name = consumer.name.clone();
    consumer
        .metadata
        .insert("explicit_link".into(), json!(true));
    let map = match stated {
        Value::String(nil) if nil == "nil" => {
            consumer.blocked = true;
            return Ok(());
        }
        Value::Object(map) => map,
        _ => {
            return Err(vec![format!(
                "Consumer '{name}' {place} specified in the manifest should only be a hash or string 'nil'"
            )]);
        }
    };
    let errors = complaints(map, &name, &place);
    if !errors.is_empty() {
        return Err(errors);
    }
    if ["instances", "properties", "address"]
        .iter()
        .any(|key| map.contains_key(*key))
    {
        consumer.metadata.insert("manual_link".into(), json!(true));
        let part = |key: &str| map.get(key).cloned().unwrap_or(Value::Null);
        providers.push(Provider {
            kind: "manual".into(),
            instance_group: consumer.instance_group.clone(),
            owner: consumer.owner.clone(),
            original_name: name.clone(),
            name,
            link_type: consumer.link_type.clone(),
            shared: false,
            consumable: true,
            custom: false,
            aliases: Value::Null,
            properties: part("properties"),
            content: json!({
                "instances": part("instances"),
                "properties": part("properties"),
                "address": part("address"),
                "deployment_name": desired.name,
            }),
        });
        return Ok(());
    }
    if let Some(from) = map.get("from").and_then(Value::as_str) {
        consumer.alias = from.to_owned();
    }
    for key in ["ip_addresses", "network"] {
        if let Some(value) = map.get(key) {
            consumer.metadata.insert(key.into(), value.clone());
        }
    }
    if let Some(deployment) = map.get("deployment").and_then(Value::as_str) {
        consumer
            .metadata
            .insert("from_deployment".into(), json!(deployment));
        if deployment != desired.name && !others.deployments.contains(deployment) {
            return Err(vec![format!(
                "Link '{}' in job '{}' from instance group '{}' consumes from deployment '{deployment}', but the deployment does \
                 not exist.",
                consumer.alias, consumer.owner, consumer.instance_group
            )]);
        }
    }
    Ok(())
}

fn complaints(map: &Map<String, Value>, name: &str, place: &str) -> Vec<String> {
    let mut errors = Vec::new();
    for key in ["instances", "properties"] {
        if map.contains_key(key) && map.contains_key("from") {
            errors.push(format!(
                "Cannot specify both '{key}' and 'from' keys for link '{name}' {place}."
            ));
        }
    }
    if map.contains_key("properties") && !map.contains_key("instances") {
        errors.push(format!(
            "Cannot specify 'properties' without 'instances' for link '{name}' {place}."
        ));
    }
    if map
        .get("ip_addresses")
        .is_some_and(|value| !value.is_boolean())
    {
        errors.push(format!(
            "Cannot specify non boolean values for 'ip_addresses' field for link '{name}' {place}."
        ));
    }
    if map.contains_key("name") || map.contains_key("type") {
        errors.push(format!(
            "Cannot specify 'name' or 'type' properties in the manifest for link '{name}' {place}. Please provide these keys \
             in the release only."
        ));
    }
    errors
}

fn of_variable(variable: &Definition, all: &mut Vec<Consumer>) -> Result<(), Error> {
    let mut errors = Vec::new();
    for (name, stated) in &variable.consumes {
        if variable.kind != "certificate" {
            errors.push(format!(
                "Variable '{}' can not define 'consumes' key for type '{}'",
                variable.name, variable.kind
            ));
            continue;
        }
        if !["alternative_name", "common_name"].contains(&name.as_str()) {
            errors.push(format!(
                "Consumer name '{name}' is not a valid consumer for variable '{}'. Acceptable consumer types are: \
                 alternative_name, common_name",
                variable.name
            ));
            continue;
        }
        let text = |key: &str| stated.get(key).and_then(Value::as_str).map(str::to_owned);
        let wildcard = stated
            .get("properties")
            .and_then(|properties| properties.get("wildcard"));
        let metadata =
            json!({"explicit_link": true, "wildcard": wildcard == Some(&Value::Bool(true))});
        all.push(Consumer {
            kind: "variable".into(),
            instance_group: String::new(),
            owner: variable.name.clone(),
            name: name.clone(),
            alias: text("from").unwrap_or_else(|| name.clone()),
            link_type: text("link_type").unwrap_or_else(|| "address".into()),
            optional: false,
            blocked: false,
            metadata: metadata.as_object().cloned().unwrap_or_default(),
            found: None,
        });
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Error::new(Kind::Director, errors.join("\n")))
    }
}
