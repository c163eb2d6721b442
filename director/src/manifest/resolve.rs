//! From what was written to what it means.
//!
//! Upstream: deployment_plan/{planner_factory,deployment_spec_parser,assembler}.rb, manifest/manifest.rb.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::addons::{self, Level};
use super::error::{Error, Kind};
use super::input::{Input, Options};
use super::raw::{Section, canonical};
use super::resolved::{Desired, InstanceGroup, Release};
use super::update::{Amount, SkipDrain, Update};
use super::version::Version;
use super::{cloud, features, groups, properties, raw, releases};
use crate::variables::definition;
use crate::variables::interpolate::{
    IN_CLOUD_CONFIG, IN_MANIFEST, IN_RUNTIME_CONFIG, Rules, interpolate,
};

/// Works out what a manifest means.
pub fn resolve(input: &Input) -> Result<Desired, Error> {
    check_options(input)?;
    let mut manifest = interpolate(
        &input.manifest,
        &input.values,
        Rules {
            ignored: IN_MANIFEST,
            absolute_only: false,
        },
    )?;
    let Value::Object(map) = &mut manifest else {
        return Err(Error::new(
            Kind::BadManifest,
            "Deployment manifest should be a hash",
        ));
    };
    check_sections(map)?;
    releases::fix_versions(map, &input.releases, &input.stemcells)?;
    let section = Section::over(map);
    let name = section.string("name")?;
    let cloud_config = interpolate(
        &cloud::merge(&input.cloud_configs)?,
        &input.values,
        Rules {
            ignored: IN_CLOUD_CONFIG,
            absolute_only: true,
        },
    )?;
    let runtime_configs = runtime_configs(input)?;
    let tags = tags(section, &runtime_configs)?;
    let cloud = cloud::read(&cloud::flatten(cloud_config), &input.settings)?;
    let stemcells = releases::read_stemcells(section, &input.stemcells)?;
    let global_properties = section.hash_or_empty("properties")?;
    let mut all_releases = releases::read_releases(section, &input.releases)?;
    let update = Update::read(section.hash("update")?, &input.options, &input.settings)?;
    let mut variables = match section.get("variables") {
        None => Vec::new(),
        Some(_) => definition::read(&Value::Array(section.array("variables")?.to_vec()))?,
    };
    let features = features::read(section)?;
    let context = groups::Context {
        cloud: &cloud,
        releases: &all_releases,
        stemcells: &stemcells,
        update: &update,
        features,
        properties: &global_properties,
        options: &input.options,
        settings: &input.settings,
    };
    let mut instance_groups = Vec::new();
    let mut canonical_names = BTreeSet::new();
    for spec in section.array_or_empty("instance_groups")? {
        let group = groups::read(spec, &context)?;
        if !canonical_names.insert(canonical(&group.name)?) {
            return Err(Error::new(
                Kind::DeploymentCanonicalJobNameTaken,
                format!(
                    "Invalid instance group name '{}', canonical name already taken",
                    group.name
                ),
            ));
        }
        instance_groups.push(group);
    }
    let own = addons::read(section, Level::Deployment, &release_names(&all_releases))?;
    for addon in &own {
        addon.add_to(&name, &input.teams, &all_releases, &mut instance_groups)?;
    }
    for config in &runtime_configs {
        apply_runtime_config(
            config,
            &name,
            input,
            &mut all_releases,
            &mut instance_groups,
        )?;
        let section = Section::of(config)?;
        if section.has("variables") {
            for variable in definition::read(&Value::Array(section.array("variables")?.to_vec()))? {
                if variables.iter().any(|other| other.name == variable.name) {
                    return Err(Error::new(
                        Kind::DeploymentDuplicateVariableName,
                        format!("Duplicate variable name '{}'", variable.name),
                    ));
                }
                variables.push(variable);
            }
        }
    }
    for group in &mut instance_groups {
        bind(group, &input.options)?;
        check_packages(group)?;
        check_exported_from(group, &all_releases)?;
    }
    Ok(Desired {
        name,
        releases: all_releases,
        stemcells,
        azs: cloud.azs,
        networks: cloud.networks,
        disk_types: cloud.disk_types,
        compilation: cloud.compilation,
        update,
        variables,
        features,
        tags,
        instance_groups,
        runtime_configs: input
            .runtime_configs
            .iter()
            .map(|config| config.id)
            .collect(),
        skip_drain: SkipDrain::parse(input.options.skip_drain.as_deref()),
        options: input.options.clone(),
        settings: input.settings.clone(),
        manifest,
    })
}

fn check_options(input: &Input) -> Result<(), Error> {
    for (value, what) in [
        (&input.options.max_in_flight, "max_in_flight"),
        (&input.options.canaries, "canaries"),
    ] {
        if value.as_ref().is_some_and(|value| !Amount::is_valid(value)) {
            return Err(Error::new(
                Kind::Director,
                format!("{what} value should be integer or percent"),
            ));
        }
    }
    Ok(())
}

/// Sections that belong elsewhere, or to manifests of long ago. Upstream: manifest_validator.rb.
fn check_sections(manifest: &Map<String, Value>) -> Result<(), Error> {
    for key in ["vm_types", "azs", "disk_types", "compilation"] {
        if manifest.contains_key(key) {
            return Err(Error::new(
                Kind::DeploymentInvalidProperty,
                format!(
                    "Deployment manifest contains '{key}' section, but this can only be set in a cloud-config."
                ),
            ));
        }
    }
    for (key, kind, message) in [
        (
            "networks",
            Kind::V1DeprecatedNetworks,
            "Deployment 'networks' are no longer supported. Network definitions must now be provided in a cloud-config.",
        ),
        (
            "disk_pools",
            Kind::V1DeprecatedDiskPools,
            "disk_pools is no longer supported. Disk definitions must now be provided as disk_types in a cloud-config",
        ),
        (
            "jobs",
            Kind::V1DeprecatedJob,
            "Jobs are no longer supported, please use instance groups instead",
        ),
        (
            "resource_pools",
            Kind::V1DeprecatedResourcePools,
            "resource_pools is no longer supported. You must now define resources in a cloud-config",
        ),
    ] {
        if manifest.contains_key(key) {
            return Err(Error::new(kind, message));
        }
    }
    Ok(())
}

fn runtime_configs(input: &Input) -> Result<Vec<Value>, Error> {
    let rules = Rules {
        ignored: IN_RUNTIME_CONFIG,
        absolute_only: false,
    };
    input
        .runtime_configs
        .iter()
        .map(|config| interpolate(&config.content, &input.values, rules))
        .collect()
}

fn tags(manifest: Section<'_>, runtime_configs: &[Value]) -> Result<Map<String, Value>, Error> {
    let mut tags: Option<Map<String, Value>> = None;
    for config in runtime_configs {
        if let Some(own) = Section::of(config)?.optional_hash("tags")? {
            if tags.is_some() {
                return Err(Error::new(
                    Kind::AddonDeploymentFilterNotAllowed,
                    "Runtime config 'tags' key cannot be defined in multiple runtime configs.",
                ));
            }
            tags = Some(own.clone());
        }
    }
    let mut tags = tags.unwrap_or_default();
    for (key, value) in manifest.hash_or_empty("tags")? {
        tags.insert(key, value);
    }
    Ok(tags)
}

fn release_names(releases: &[Release]) -> Vec<String> {
    releases
        .iter()
        .map(|release| release.name.clone())
        .collect()
}

fn apply_runtime_config(
    config: &Value,
    deployment: &str,
    input: &Input,
    all_releases: &mut Vec<Release>,
    instance_groups: &mut [InstanceGroup],
) -> Result<(), Error> {
    let section = Section::of(config)?;
    let mut own: Vec<(String, String, &Value)> = Vec::new();
    for spec in section.array_or_empty("releases")? {
        let release = Section::of(spec)?;
        let (name, version) = (release.string("name")?, release.string("version")?);
        if is_latest(&version) {
            return Err(Error::new(
                Kind::RuntimeInvalidReleaseVersion,
                format!(
                    "Runtime manifest contains the release '{name}' with version as '{version}'. Please specify the actual \
                     version string."
                ),
            ));
        }
        own.push((name, version, spec));
    }
    let names: Vec<String> = own.iter().map(|(name, ..)| name.clone()).collect();
    let addons = addons::read(section, Level::Runtime, &names)?;
    for addon in &addons {
        let applies = instance_groups
            .iter()
            .any(|group| addon.applies(deployment, &input.teams, group));
        if !applies {
            continue;
        }
        for wanted in addon.releases() {
            for (name, version, spec) in own.iter().filter(|(name, ..)| name == wanted) {
                match all_releases.iter().find(|release| release.name == *name) {
                    Some(other) if other.version != *version => {
                        return Err(Error::new(
                            Kind::RuntimeInvalidDeploymentRelease,
                            format!(
                                "Runtime manifest specifies release '{name}' with version as '{version}'. This conflicts with \
                                 version '{}' specified in the deployment manifest.",
                                other.version
                            ),
                        ));
                    }
                    Some(_) => {}
                    None => all_releases.push(releases::read_release(spec, &input.releases)?),
                }
            }
        }
    }
    for addon in &addons {
        addon.add_to(deployment, &input.teams, all_releases, instance_groups)?;
    }
    Ok(())
}

fn is_latest(version: &str) -> bool {
    version
        .strip_suffix("latest")
        .is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '_']))
}

/// Works out properties and run-time packages of the group's jobs.
fn bind(group: &mut InstanceGroup, options: &Options) -> Result<(), Error> {
    let mut packages = Vec::new();
    let mut seen = BTreeMap::new();
    for job in &mut group.jobs {
        if !options.properties.is_empty() {
            let over = std::mem::replace(&mut job.given, options.properties.clone());
            raw::merge(&mut job.given, &over);
        }
        job.properties = properties::bind(&job.catalog, &job.given)?;
        for name in &job.catalog.spec.packages {
            let package = job.release.package(name).ok_or_else(|| {
                Error::new(
                    Kind::Director,
                    format!(
                        "Package '{name}' not found in release '{}'",
                        job.release_name
                    ),
                )
            })?;
            if seen.insert(package.id, ()).is_none() {
                packages.push(Arc::clone(package));
            }
        }
    }
    group.packages = packages;
    Ok(())
}

fn check_packages(group: &InstanceGroup) -> Result<(), Error> {
    let mut users: BTreeMap<&str, Vec<(&str, &str, &super::catalog::Package)>> = BTreeMap::new();
    for job in &group.jobs {
        for name in &job.catalog.spec.packages {
            if let Some(package) = job.release.package(name) {
                users
                    .entry(name)
                    .or_default()
                    .push((&job.release_name, &job.name, package));
            }
        }
    }
    for (name, users) in users {
        let Some(((release1, job1, package1), rest)) = users.split_first() else {
            continue;
        };
        let other = rest.iter().find(|(_, _, package)| {
            package.fingerprint != package1.fingerprint
                || package.dependencies != package1.dependencies
        });
        if let Some((release2, job2, package2)) = other {
            return Err(Error::new(
                Kind::JobPackageCollision,
                format!(
                    "Package name collision detected in instance group '{}': job '{release1}/{job1}' depends on package \
                     '{release1}/{name}' with fingerprint '{}', job '{release2}/{job2}' depends on package \
                     '{release2}/{name}' with fingerprint '{}'. BOSH cannot currently collocate two packages with identical \
                     names and different fingerprints or dependencies.",
                    group.name, package1.fingerprint, package2.fingerprint
                ),
            ));
        }
    }
    Ok(())
}

fn check_exported_from(group: &InstanceGroup, releases: &[Release]) -> Result<(), Error> {
    let stemcell = &group.stemcell;
    for job in &group.jobs {
        let Some(release) = releases
            .iter()
            .find(|release| release.name == job.release_name)
        else {
            continue;
        };
        if release.exported_from.is_empty() {
            continue;
        }
        let fits = release.exported_from.iter().any(|(os, version)| {
            *os == stemcell.os
                && match (
                    Version::of_stemcell(version),
                    Version::of_stemcell(&stemcell.version),
                ) {
                    (Some(a), Some(b)) => a.same_major(&b),
                    _ => version == &stemcell.version,
                }
        });
        if !fits {
            let stated = format!("{}/{}", stemcell.name, stemcell.version);
            let listed: Vec<String> = release
                .exported_from
                .iter()
                .map(|(os, version)| format!("'{os}/{version}'"))
                .collect();
            return Err(Error::new(
                Kind::JobWithExportedFromMismatch,
                format!(
                    "Invalid release detected in instance group '{}' using stemcell '{stated}': release '{}' must be exported \
                     from stemcell '{stated}'. Release '{}' is exported from: {}.",
                    group.name,
                    release.name,
                    release.name,
                    listed.join(", ")
                ),
            ));
        }
    }
    Ok(())
}
