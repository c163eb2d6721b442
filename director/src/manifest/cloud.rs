//! Cloud configs: merged into one, then read.
//!
//! Upstream: cloud_config/cloud_configs_consolidator.rb, deployment_plan/cloud_manifest_parser.rb,
//! compilation_config.rb.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::{Error, Kind};
use super::input::{Config, Settings};
use super::networks;
use super::raw::{Section, canonical};
use super::resolved::{Az, CloudType, Compilation, DiskType, Network, VmResources};
use crate::variables::interpolate::is_placeholder;

/// What a cloud config has to offer.
#[derive(Debug, Clone, Default)]
pub struct Cloud {
    /// `azs`.
    pub azs: Vec<Arc<Az>>,
    /// `networks`.
    pub networks: Vec<Arc<Network>>,
    /// `vm_types`.
    pub vm_types: Vec<CloudType>,
    /// `vm_extensions`.
    pub vm_extensions: Vec<CloudType>,
    /// `disk_types`.
    pub disk_types: Vec<Arc<DiskType>>,
    /// `compilation`.
    pub compilation: Compilation,
}

const LISTS: [&str; 5] = ["azs", "vm_types", "disk_types", "networks", "vm_extensions"];

/// Puts several cloud configs into one: lists are joined, `compilation` may stand in one of them only.
pub fn merge(configs: &[Config]) -> Result<Value, Error> {
    let is_empty = |config: &Config| match &config.content {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if configs.iter().all(is_empty) {
        return Ok(Value::Object(Map::new()));
    }
    let mut merged: Map<String, Value> = LISTS
        .iter()
        .map(|key| ((*key).to_owned(), Value::Array(Vec::new())))
        .collect();
    for config in configs {
        let section = Section::of(&config.content)?;
        for key in LISTS {
            let Some(Value::Array(all)) = merged.get_mut(key) else {
                continue;
            };
            match section.get(key) {
                Some(whole @ Value::String(text)) if is_placeholder(text) => {
                    all.push(whole.clone())
                }
                _ => all.extend(section.array_or_empty(key)?.iter().cloned()),
            }
        }
        if let Some(compilation) = section.optional_hash("compilation")? {
            if merged.contains_key("compilation") {
                return Err(Error::new(
                    Kind::CloudConfigMergeError,
                    "Cloud config 'compilation' key cannot be defined in multiple cloud configs.",
                ));
            }
            merged.insert("compilation".into(), Value::Object(compilation.clone()));
        }
    }
    Ok(Value::Object(merged))
}

/// Puts lists that stood for a placeholder in place of it, after interpolation.
pub fn flatten(mut merged: Value) -> Value {
    if let Value::Object(map) = &mut merged {
        for value in map.values_mut() {
            if let Value::Array(items) = value
                && items.iter().any(Value::is_array)
            {
                *items = std::mem::take(items)
                    .into_iter()
                    .flat_map(|item| match item {
                        Value::Array(inner) => inner,
                        other => vec![other],
                    })
                    .collect();
            }
        }
    }
    merged
}

/// Reads a merged cloud config.
pub fn read(config: &Value, settings: &Settings) -> Result<Cloud, Error> {
    let section = Section::of(config)?;
    let azs = section
        .array_or_empty("azs")?
        .iter()
        .map(az)
        .collect::<Result<Vec<_>, _>>()?;
    unique(
        azs.iter().map(|az| az.name.as_str()),
        Kind::DeploymentDuplicateAvailabilityZoneName,
        "az",
    )?;
    let networks = read_networks(section, &azs, settings)?;
    let vm_types = cloud_types(section, "vm_types")?;
    unique(
        names(&vm_types),
        Kind::DeploymentDuplicateVmTypeName,
        "vm type",
    )?;
    let vm_extensions = cloud_types(section, "vm_extensions")?;
    unique(
        names(&vm_extensions),
        Kind::DeploymentDuplicateVmExtensionName,
        "vm extension",
    )?;
    let disk_types = section
        .array_or_empty("disk_types")?
        .iter()
        .map(disk_type)
        .collect::<Result<Vec<_>, _>>()?;
    unique(
        disk_types.iter().map(|disk_type| disk_type.name.as_str()),
        Kind::DeploymentDuplicateDiskTypeName,
        "disk type",
    )?;
    let mut cloud = Cloud {
        azs,
        networks,
        vm_types,
        vm_extensions,
        disk_types,
        compilation: Compilation::default(),
    };
    cloud.compilation = compilation(section.hash("compilation")?, &cloud)?;
    Ok(cloud)
}

fn names(types: &[CloudType]) -> impl Iterator<Item = &str> {
    types.iter().map(|cloud_type| cloud_type.name.as_str())
}

fn unique<'a>(names: impl Iterator<Item = &'a str>, kind: Kind, what: &str) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::new(kind, format!("Duplicate {what} name '{name}'")));
        }
    }
    Ok(())
}

fn az(value: &Value) -> Result<Arc<Az>, Error> {
    let section = Section::of(value)?;
    Ok(Arc::new(Az {
        name: section.string("name")?,
        cloud_properties: section.hash_or_empty("cloud_properties")?,
        cpi: section.optional_string("cpi")?,
    }))
}

fn cloud_types(section: Section<'_>, key: &str) -> Result<Vec<CloudType>, Error> {
    let read = |value: &Value| {
        let section = Section::of(value)?;
        Ok(CloudType {
            name: section.string("name")?,
            cloud_properties: section.hash_or_empty("cloud_properties")?,
        })
    };
    section.array_or_empty(key)?.iter().map(read).collect()
}

fn disk_type(value: &Value) -> Result<Arc<DiskType>, Error> {
    let section = Section::of(value)?;
    let name = section.string("name")?;
    let size = section.integer("disk_size")?;
    let disk_size = u64::try_from(size).map_err(|_| {
        Error::new(
            Kind::DiskTypeInvalidDiskSize,
            format!("Disk types '{name}' references an invalid persistent disk size '{size}'"),
        )
    })?;
    Ok(Arc::new(DiskType {
        name,
        disk_size,
        cloud_properties: section.hash_or_empty("cloud_properties")?,
    }))
}

fn read_networks(
    section: Section<'_>,
    azs: &[Arc<Az>],
    settings: &Settings,
) -> Result<Vec<Arc<Network>>, Error> {
    let specs = section.array("networks")?;
    if specs.is_empty() {
        return Err(Error::new(
            Kind::DeploymentNoNetworks,
            "No networks specified",
        ));
    }
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(specs.len());
    for spec in specs {
        let network = networks::read(spec, azs, settings)?;
        if !seen.insert(canonical(&network.name)?) {
            return Err(Error::new(
                Kind::DeploymentCanonicalNetworkNameTaken,
                format!(
                    "Invalid network name '{}', canonical name already taken",
                    network.name
                ),
            ));
        }
        all.push(Arc::new(network));
    }
    Ok(all)
}

/// Reads `vm_resources`.
pub fn vm_resources(map: &Map<String, Value>) -> Result<VmResources, Error> {
    let section = Section::over(map);
    Ok(VmResources {
        cpu: section.integer("cpu")?,
        ram: section.integer("ram")?,
        ephemeral_disk_size: section.integer("ephemeral_disk_size")?,
    })
}

fn compilation(map: &Map<String, Value>, cloud: &Cloud) -> Result<Compilation, Error> {
    let section = Section::over(map);
    let workers = section.integer("workers")?;
    let workers = u32::try_from(workers)
        .ok()
        .filter(|workers| *workers >= 1)
        .ok_or_else(|| {
            Error::new(
                Kind::ValidationViolatedMin,
                format!("'workers' value ({workers}) should be greater than 1"),
            )
        })?;
    let network_name = section.string("network")?;
    let orphan_workers = section.optional_boolean("orphan_workers")?.unwrap_or(false);
    let reuse_compilation_vms = section
        .optional_boolean("reuse_compilation_vms")?
        .unwrap_or(false);
    let own_properties = section.hash_or_empty("cloud_properties")?;
    let env = section.hash_or_empty("env")?;
    let az = match section.optional_string("az")? {
        Some(name) if !name.is_empty() => Some(cloud.azs.iter().find(|az| az.name == name).cloned().ok_or_else(|| {
            let known: Vec<&str> = cloud.azs.iter().map(|az| az.name.as_str()).collect();
            Error::new(
                Kind::CompilationConfigInvalidAvailabilityZone,
                format!("Compilation config references unknown az '{name}'. Known azs are: [{}]", known.join(", ")),
            )
        })?),
        _ => None,
    };
    let vm_type_name = section.optional_string("vm_type")?;
    let resources = section.optional_hash("vm_resources")?;
    let ways = [
        vm_type_name.as_ref().is_some_and(|name| !name.is_empty()),
        resources.is_some_and(|resources| !resources.is_empty()),
        !own_properties.is_empty(),
    ];
    if ways.into_iter().filter(|used| *used).count() > 1 {
        return Err(Error::new(
            Kind::CompilationConfigBadVmConfiguration,
            "Compilation config specifies more than one of 'vm_type', 'vm_resources', or 'cloud_properties', only one is allowed.",
        ));
    }
    let vm_type = vm_type_name
        .map(|name| {
            known_type(
                &cloud.vm_types,
                &name,
                Kind::CompilationConfigInvalidVmType,
                "vm type",
            )
        })
        .transpose()?;
    let vm_resources = match resources {
        Some(resources) if vm_type.is_none() => Some(vm_resources(resources)?),
        _ => None,
    };
    let mut extensions = Vec::new();
    for name in section.array_or_empty("vm_extensions")? {
        let name = name.as_str().unwrap_or_default();
        let extension = known_type(
            &cloud.vm_extensions,
            name,
            Kind::CompilationConfigInvalidVmExtension,
            "vm extension",
        )?;
        if vm_type.is_none() && vm_resources.is_none() {
            return Err(Error::new(
                Kind::CompilationConfigBadVmConfiguration,
                format!(
                    "Compilation config is using vm extension '{name}' and must configure a vm type or vm_resources block."
                ),
            ));
        }
        extensions.push(extension);
    }
    let network = cloud
        .networks
        .iter()
        .find(|network| network.name == network_name)
        .ok_or_else(|| {
            Error::new(
                Kind::CompilationConfigUnknownNetwork,
                format!("Compilation config references an unknown network '{network_name}'"),
            )
        })?;
    let az_name = az.as_ref().map(|az| az.name.as_str());
    if !network.serves([az_name]) {
        return Err(Error::new(
            Kind::JobNetworkMissingRequiredAvailabilityZone,
            format!(
                "Compilation config refers to az '{}' but network '{network_name}' has no matching subnet(s).",
                az_name.unwrap_or_default()
            ),
        ));
    }
    let mut cloud_properties = az
        .as_ref()
        .map(|az| az.cloud_properties.clone())
        .unwrap_or_default();
    let layers = std::iter::once(&own_properties)
        .chain(vm_type.map(|vm_type| &vm_type.cloud_properties))
        .chain(
            extensions
                .iter()
                .map(|extension| &extension.cloud_properties),
        );
    for (key, value) in layers.flatten() {
        cloud_properties.insert(key.clone(), value.clone());
    }
    Ok(Compilation {
        workers,
        network: network_name,
        az,
        reuse_compilation_vms,
        orphan_workers,
        cloud_properties,
        vm_resources,
        env,
    })
}

fn known_type<'a>(
    types: &'a [CloudType],
    name: &str,
    kind: Kind,
    what: &str,
) -> Result<&'a CloudType, Error> {
    types
        .iter()
        .find(|cloud_type| cloud_type.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = names(types).collect();
            Error::new(
                kind,
                format!(
                    "Compilation config references unknown {what} '{name}'. Known {what}s are: {}",
                    known.join(", ")
                ),
            )
        })
}
