//! Manifest, cloud config and runtime config as one document: what a diff of deployments compares.
//!
//! Upstream: manifest/manifest.rb, deployment_config.rb, runtime_config/runtime_configs_consolidator.rb.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Line, lines};
use crate::manifest::addons::{self, Facts, Level};
use crate::manifest::raw::Section;
use crate::manifest::{Config, Error, Kind, catalog, cloud, releases};

/// One side of a diff.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// The manifest; null for a deployment that is not there.
    pub manifest: Value,
    /// Cloud configs that go with it.
    pub cloud_configs: Vec<Config>,
    /// Runtime configs that go with it.
    pub runtime_configs: Vec<Config>,
}

/// Lines that lead from one deployment to another.
///
/// `releases` and `stemcells` are those uploaded, for `latest`; of releases only name and version matter.
///
/// # Errors
/// Configs that cannot be merged, versions that are not there.
pub fn manifests(
    before: &Side,
    after: &Side,
    teams: &[String],
    releases: &[Arc<catalog::ReleaseVersion>],
    stemcells: &[catalog::Stemcell],
    redacted: bool,
) -> Result<Vec<Line>, Error> {
    let before = document(before, teams, releases, stemcells)?;
    let after = document(after, teams, releases, stemcells)?;
    Ok(lines(&before, &after, redacted))
}

fn document(
    side: &Side,
    teams: &[String],
    uploaded: &[Arc<catalog::ReleaseVersion>],
    stemcells: &[catalog::Stemcell],
) -> Result<Value, Error> {
    let mut manifest = match &side.manifest {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    releases::fix_versions(&mut manifest, uploaded, stemcells)?;
    let runtime = runtime(&side.runtime_configs)?;
    let runtime = applicable(&runtime, &manifest, teams)?;
    if let Value::Object(cloud) = cloud::merge(&side.cloud_configs)? {
        for (key, value) in cloud {
            manifest.insert(key, value);
        }
    }
    for (key, value) in runtime {
        let merged = match (key.as_str(), manifest.get(&key)) {
            ("releases" | "variables" | "addons", Some(Value::Array(old))) => union(old, &value),
            ("tags", Some(Value::Object(old))) => {
                let mut tags = value.as_object().cloned().unwrap_or_default();
                tags.extend(old.clone());
                Value::Object(tags)
            }
            _ => value,
        };
        manifest.insert(key, merged);
    }
    Ok(Value::Object(manifest))
}

fn union(old: &[Value], new: &Value) -> Value {
    let mut all: Vec<Value> = Vec::new();
    for value in old.iter().chain(new.as_array().into_iter().flatten()) {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    Value::Array(all)
}

/// Runtime configs as one.
fn runtime(configs: &[Config]) -> Result<Map<String, Value>, Error> {
    let mut merged = Map::new();
    if configs.is_empty() {
        return Ok(merged);
    }
    for key in ["releases", "addons", "variables"] {
        let mut all = Vec::new();
        for config in configs {
            all.extend(
                Section::of(&config.content)?
                    .array_or_empty(key)?
                    .iter()
                    .cloned(),
            );
        }
        if key == "releases" || !all.is_empty() {
            merged.insert(key.into(), Value::Array(all));
        }
    }
    for config in configs {
        if let Some(tags) = Section::of(&config.content)?.optional_hash("tags")? {
            if merged.contains_key("tags") {
                return Err(Error::new(
                    Kind::AddonDeploymentFilterNotAllowed,
                    "Runtime config 'tags' key cannot be defined in multiple runtime configs.",
                ));
            }
            merged.insert("tags".into(), Value::Object(tags.clone()));
        }
    }
    Ok(merged)
}

/// The runtime config with only those addons that are for this deployment, and their releases.
fn applicable(
    runtime: &Map<String, Value>,
    manifest: &Map<String, Value>,
    teams: &[String],
) -> Result<Map<String, Value>, Error> {
    if runtime.is_empty() {
        return Ok(Map::new());
    }
    let section = Section::over(runtime);
    let deployment = manifest
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let names: Vec<String> = section
        .array_or_empty("releases")?
        .iter()
        .map(|release| Section::of(release)?.string("name"))
        .collect::<Result<_, _>>()?;
    let no_stemcells = Value::Null;
    let stemcells = manifest.get("stemcells").unwrap_or(&no_stemcells);
    let groups: Vec<Facts<'_>> = manifest
        .get("instance_groups")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|group| Facts::of_raw(group, stemcells))
        .collect();
    let parsed = addons::read(section, Level::Runtime, &names)?;
    let applying: Vec<_> = parsed
        .iter()
        .filter(|addon| {
            groups
                .iter()
                .any(|group| addon.applies_to(deployment, teams, group))
        })
        .collect();
    fn name(value: &Value) -> &str {
        value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
    let mut filtered = runtime.clone();
    if let Some(Value::Array(releases)) = filtered.get_mut("releases") {
        releases.retain(|release| {
            let mut wanted = applying.iter().flat_map(|addon| addon.releases());
            wanted.any(|wanted| wanted == name(release))
        });
    }
    let mut none_left = false;
    if let Some(Value::Array(addons)) = filtered.get_mut("addons") {
        addons.retain(|addon| applying.iter().any(|applying| applying.name == name(addon)));
        none_left = addons.is_empty();
    }
    if none_left {
        filtered.shift_remove("addons");
    }
    Ok(filtered)
}
