//! Instance groups.
//!
//! Upstream: deployment_plan/instance_group_spec_parser.rb, instance_group_networks_parser.rb,
//! instance_group_availability_zone_parser.rb.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::cloud::{Cloud, vm_resources};
use super::error::{Error, Kind};
use super::input::{Options, Settings};
use super::ip::{Block, parse_range};
use super::raw::{Section, inspect, merge};
use super::resolved::{
    Az, CloudType, Disk, Features, GroupNetwork, InstanceGroup, Job, Lifecycle, MigratedFrom,
    NetworkKind, Release, State, Stemcell, VmResources,
};
use super::update::Update;

/// What instance groups refer to.
pub(super) struct Context<'a> {
    /// The cloud config.
    pub(super) cloud: &'a Cloud,
    /// The manifest's releases.
    pub(super) releases: &'a [Release],
    /// The manifest's stemcells.
    pub(super) stemcells: &'a [Arc<Stemcell>],
    /// The manifest's `update`.
    pub(super) update: &'a Update,
    /// The manifest's `features`.
    pub(super) features: Features,
    /// The manifest's `properties`.
    pub(super) properties: &'a Map<String, Value>,
    /// What was asked for beside the manifest.
    pub(super) options: &'a Options,
    /// What director.yml says.
    pub(super) settings: &'a Settings,
}

/// More addresses than any instance group has; a longer list is a mistake or an attack.
const MOST_STATIC_IPS: u128 = 65_536;

/// Reads an instance group, with the states asked for on the command line on top.
pub(super) fn read(spec: &Value, context: &Context<'_>) -> Result<InstanceGroup, Error> {
    let mut spec = spec.clone();
    if let Value::Object(map) = &mut spec {
        let name = map.get("name").and_then(Value::as_str).unwrap_or_default();
        let states = &context.options.job_states;
        if let Some(overrides) = states.get(name).or_else(|| states.get("*")) {
            let overrides = overrides.clone();
            merge(map, &overrides);
        }
    }
    let section = Section::of(&spec)?;
    let name = section.string("name")?;
    let lifecycle = lifecycle(section, &name)?;
    if section.has("template") || section.has("templates") {
        return Err(Error::new(
            Kind::V1DeprecatedTemplate,
            format!(
                "Instance group '{name}' specifies template or templates. This is no longer supported, please use jobs instead"
            ),
        ));
    }
    if section.value("jobs").is_null() {
        return Err(Error::new(
            Kind::ValidationMissingField,
            format!("Instance group '{name}' does not specify jobs key"),
        ));
    }
    let jobs = jobs(section, &name, context)?;
    let disks = disks(section, &name, context)?;
    let stemcell_name = section.string("stemcell")?;
    let stemcell = context
        .stemcells
        .iter()
        .find(|stemcell| stemcell.alias == stemcell_name)
        .cloned()
        .ok_or_else(|| {
            Error::new(
                Kind::InstanceGroupUnknownStemcell,
                format!("Instance group '{name}' references an unknown stemcell '{stemcell_name}'"),
            )
        })?;
    let (vm_type, vm_resources) = vm_type(section, &name, context)?;
    let vm_extensions = vm_extensions(section, context)?;
    let env = env(section, context)?;
    let update = match section.optional_hash("update")? {
        Some(own) => context.update.with(Section::over(own), context.options)?,
        None => context.update.clone(),
    };
    let (networks, default_networks) = networks(section, &name, context)?;
    let azs = azs(section, &name, &networks, context)?;
    let migrated_from = migrated_from(section, &name, &azs)?;
    let state = state(section, &name)?;
    let instance_states = instance_states(section, &name)?;
    let instances = section.integer("instances")?;
    for network in &networks {
        if let Some(ips) = &network.static_ips
            && i64::try_from(ips.len()) != Ok(instances)
        {
            return Err(Error::new(
                Kind::InstanceGroupNetworkInstanceIpMismatch,
                format!(
                    "Instance group '{name}' has {instances} instances but was allocated {} static IPs in network '{}'",
                    ips.len(),
                    network.network.name
                ),
            ));
        }
    }
    let instances = u32::try_from(instances).map_err(|_| {
        Error::new(
            Kind::ValidationViolatedMin,
            format!("'instances' value ({instances}) should be greater than 0"),
        )
    })?;
    let mut group = InstanceGroup {
        name,
        lifecycle,
        instances,
        jobs: Vec::new(),
        packages: Vec::new(),
        stemcell,
        vm_type,
        vm_resources,
        vm_extensions,
        env,
        update,
        networks,
        default_networks,
        azs,
        migrated_from,
        state,
        instance_states,
        disks,
        tags: section.hash_or_empty("tags")?,
    };
    group.jobs = jobs;
    Ok(group)
}

fn lifecycle(section: Section<'_>, name: &str) -> Result<Lifecycle, Error> {
    match section
        .optional_string("lifecycle")?
        .as_deref()
        .unwrap_or("service")
    {
        "service" => Ok(Lifecycle::Service),
        "errand" => Ok(Lifecycle::Errand),
        other => Err(Error::new(
            Kind::JobInvalidLifecycle,
            format!(
                "Invalid lifecycle '{other}' for '{name}', valid lifecycle profiles are: service, errand"
            ),
        )),
    }
}

fn jobs(section: Section<'_>, group: &str, context: &Context<'_>) -> Result<Vec<Job>, Error> {
    let mut group_properties = context.properties.clone();
    merge(&mut group_properties, &section.hash_or_empty("properties")?);
    let mut all: Vec<Job> = Vec::new();
    for spec in section.array("jobs")? {
        let entry = Section::of(spec)?;
        let name = entry.string("name")?;
        let release_name = entry.string("release")?;
        let release = context
            .releases
            .iter()
            .find(|release| release.name == release_name)
            .ok_or_else(|| {
                Error::new(
                    Kind::InstanceGroupUnknownRelease,
                    format!("Job '{name}' (instance group '{group}') references an unknown release '{release_name}'"),
                )
            })?;
        let catalog = release.catalog.job(&name).ok_or_else(|| {
            Error::new(
                Kind::ReleaseMissingJob,
                format!("Job '{name}' not found in release '{release_name}'"),
            )
        })?;
        let given = match entry.optional_hash("properties")? {
            Some(own) => own.clone(),
            None => group_properties.clone(),
        };
        all.push(Job {
            name,
            release_name,
            release: Arc::clone(&release.catalog),
            catalog: Arc::clone(catalog),
            properties: Map::new(),
            given,
            provides: link_section(entry, "provides")?,
            consumes: link_section(entry, "consumes")?,
            custom_providers: match entry.get("custom_provider_definitions") {
                Some(Value::Array(definitions)) => definitions.clone(),
                _ => Vec::new(),
            },
        });
    }
    let mut seen = BTreeSet::new();
    for job in &all {
        if !seen.insert(job.name.as_str()) {
            return Err(Error::new(
                Kind::InstanceGroupInvalidJobs,
                format!(
                    "Colocated job '{}' is already added to the instance group '{group}'",
                    job.name
                ),
            ));
        }
    }
    Ok(all)
}

fn link_section(entry: Section<'_>, key: &str) -> Result<Map<String, Value>, Error> {
    match entry.get(key) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(_) => Ok(entry.hash(key)?.clone()),
    }
}

fn disks(section: Section<'_>, group: &str, context: &Context<'_>) -> Result<Vec<Disk>, Error> {
    let size = section.optional_integer("persistent_disk")?;
    let type_name = section.optional_string("persistent_disk_type")?;
    if section.optional_string("persistent_disk_pool")?.is_some() {
        return Err(Error::new(
            Kind::V1DeprecatedDiskPools,
            "`persistent_disk_pool` is not supported as an `instance_groups` key. Please use `persistent_disk_type` instead.",
        ));
    }
    let several = section.optional_array("persistent_disks")?;
    let invalid = |message: String| Error::new(Kind::InstanceGroupInvalidPersistentDisk, message);
    if [size.is_some(), type_name.is_some(), several.is_some()]
        .into_iter()
        .filter(|used| *used)
        .count()
        > 1
    {
        return Err(invalid(format!(
            "Instance group '{group}' specifies more than one of the following keys: 'persistent_disk', \
             'persistent_disk_type', and 'persistent_disks'. Choose one."
        )));
    }
    let lookup = |name: &str, whose: &str| {
        let disk_type = context
            .cloud
            .disk_types
            .iter()
            .find(|disk_type| disk_type.name == name);
        disk_type.ok_or_else(|| {
            Error::new(
                Kind::InstanceGroupUnknownDiskType,
                format!("Instance group '{group}' {whose}references an unknown disk type '{name}'"),
            )
        })
    };
    let mut all = Vec::new();
    if let Some(size) = size {
        let size = u64::try_from(size).map_err(|_| {
            invalid(format!(
                "Instance group '{group}' references an invalid persistent disk size '{size}'"
            ))
        })?;
        if size > 0 {
            all.push(Disk {
                name: String::new(),
                size,
                cloud_properties: Map::new(),
                disk_type: format!("{group}-{size}"),
            });
        }
    }
    if let Some(name) = type_name {
        let disk_type = lookup(&name, "")?;
        all.push(Disk {
            name: String::new(),
            size: disk_type.disk_size,
            cloud_properties: disk_type.cloud_properties.clone(),
            disk_type: disk_type.name.clone(),
        });
    }
    for spec in several.unwrap_or_default() {
        let entry = Section::of(spec)?;
        let name = entry.optional_string("name")?.unwrap_or_default();
        if all.iter().any(|disk: &Disk| disk.name == name) {
            return Err(invalid(format!(
                "Instance group '{group}' persistent_disks's section contains duplicate names"
            )));
        }
        let type_name = entry.optional_string("type")?.unwrap_or_default();
        let disk_type = lookup(&type_name, "persistent_disks's section ")?;
        if name.trim().is_empty() {
            return Err(invalid(format!(
                "Instance group '{group}' persistent_disks's section contains a disk with no name"
            )));
        }
        all.push(Disk {
            name,
            size: disk_type.disk_size,
            cloud_properties: disk_type.cloud_properties.clone(),
            disk_type: disk_type.name.clone(),
        });
    }
    Ok(all)
}

fn vm_type(
    section: Section<'_>,
    group: &str,
    context: &Context<'_>,
) -> Result<(Option<CloudType>, Option<VmResources>), Error> {
    if section.optional_string("resource_pool")?.is_some() {
        return Err(Error::new(
            Kind::V1DeprecatedResourcePool,
            "Instance groups no longer support resource_pool, please use 'vm_type' or 'vm_resources' keys",
        ));
    }
    let name = section.optional_string("vm_type")?;
    let resources = section.optional_hash("vm_resources")?;
    match (name, resources) {
        (None, None) => Err(Error::new(
            Kind::InstanceGroupBadVmConfiguration,
            format!(
                "Instance group '{group}' is missing either 'vm_type' or 'vm_resources' section."
            ),
        )),
        (Some(_), Some(_)) => Err(Error::new(
            Kind::InstanceGroupBadVmConfiguration,
            format!("Instance group '{group}' can only specify 'vm_type' or 'vm_resources' keys."),
        )),
        (Some(name), None) => {
            let vm_type = context
                .cloud
                .vm_types
                .iter()
                .find(|vm_type| vm_type.name == name);
            let vm_type = vm_type.ok_or_else(|| {
                Error::new(
                    Kind::InstanceGroupUnknownVmType,
                    format!("Instance group '{group}' references an unknown vm type '{name}'"),
                )
            })?;
            Ok((Some(vm_type.clone()), None))
        }
        (None, Some(map)) => Ok((None, Some(vm_resources(map)?))),
    }
}

fn vm_extensions(section: Section<'_>, context: &Context<'_>) -> Result<Vec<CloudType>, Error> {
    let lookup = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        let extension = context
            .cloud
            .vm_extensions
            .iter()
            .find(|extension| extension.name == name);
        extension.cloned().ok_or_else(|| {
            Error::new(
                Kind::Director,
                format!("The vm_extension '{name}' has not been configured in cloud-config."),
            )
        })
    };
    section
        .array_or_empty("vm_extensions")?
        .iter()
        .map(lookup)
        .collect()
}

/// The mapping under `key`, made if it is not there.
fn child<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> Result<&'a mut Map<String, Value>, Error> {
    let value = map.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => Ok(map),
        other => Err(Error::new(
            Kind::ValidationInvalidType,
            format!(
                "Property '{key}' value ({}) did not match the required type 'Hash'",
                inspect(other)
            ),
        )),
    }
}

fn env(section: Section<'_>, context: &Context<'_>) -> Result<Map<String, Value>, Error> {
    let mut env = section.hash_or_empty("env")?;
    if context.settings.remove_dev_tools {
        child(&mut env, "bosh")?
            .entry("remove_dev_tools")
            .or_insert(Value::Bool(true));
    }
    if let Some(tmpfs) = context.features.use_tmpfs_config {
        let bosh = child(&mut env, "bosh")?;
        child(bosh, "job_dir")?
            .entry("tmpfs")
            .or_insert(Value::Bool(tmpfs));
        let agent = child(bosh, "agent")?;
        child(agent, "settings")?
            .entry("tmpfs")
            .or_insert(Value::Bool(tmpfs));
    }
    Ok(env)
}

fn networks(
    section: Section<'_>,
    group: &str,
    context: &Context<'_>,
) -> Result<(Vec<GroupNetwork>, BTreeMap<String, String>), Error> {
    const VALID: [&str; 3] = ["dns", "gateway", "addressable"];
    let specs = section.array("networks")?;
    if specs.is_empty() {
        return Err(Error::new(
            Kind::JobMissingNetwork,
            format!("Instance group '{group}' must specify at least one network"),
        ));
    }
    let mut all = specs
        .iter()
        .map(|spec| network(Section::of(spec)?, group, context))
        .collect::<Result<Vec<_>, _>>()?;
    for network in &all {
        for property in &network.default_for {
            if !VALID.contains(&property.as_str()) {
                return Err(Error::new(
                    Kind::JobNetworkInvalidDefault,
                    format!(
                        "Instance group '{group}' specified an invalid default network property '{property}', \
                         valid properties are: dns, gateway"
                    ),
                ));
            }
        }
    }
    if let [only] = all.as_mut_slice() {
        only.default_for = vec!["dns".into(), "gateway".into()];
    }
    let mut several = Vec::new();
    let mut missing = Vec::new();
    let mut defaults = BTreeMap::new();
    for property in VALID {
        let providers: Vec<&GroupNetwork> = all
            .iter()
            .filter(|network| network.default_for.iter().any(|name| name == property))
            .collect();
        match providers.as_slice() {
            [] if property != "addressable" => missing.push(property),
            [] => {}
            [one] => {
                defaults.insert(property.to_owned(), one.network.name.clone());
            }
            many => {
                let names: Vec<String> = many
                    .iter()
                    .map(|network| format!("'{}'", network.network.name))
                    .collect();
                several.push(format!(
                    "'{property}' has default networks: {}.",
                    names.join(", ")
                ));
            }
        }
    }
    if !several.is_empty() {
        return Err(Error::new(
            Kind::JobNetworkMultipleDefaults,
            format!(
                "Instance group '{group}' specified more than one network to contain default. {}",
                several.join(" ")
            ),
        ));
    }
    if !missing.is_empty() {
        return Err(Error::new(
            Kind::JobNetworkMissingDefault,
            format!(
                "Instance group '{group}' must specify which network is default for {}, since it has more than one \
                 network configured",
                missing.join(", ")
            ),
        ));
    }
    Ok((all, defaults))
}

fn network(
    section: Section<'_>,
    group: &str,
    context: &Context<'_>,
) -> Result<GroupNetwork, Error> {
    let name = section.string("name")?;
    let default_for = section
        .array_or_empty("default")?
        .iter()
        .map(|property| {
            property
                .as_str()
                .map_or_else(|| inspect(property), str::to_owned)
        })
        .collect();
    let nic_group = section.optional_string("nic_group")?;
    let static_ips = match section.value("static_ips") {
        Value::Null | Value::Bool(false) => None,
        value => Some(static_ips(value, group)?),
    };
    let network = context
        .cloud
        .networks
        .iter()
        .find(|network| network.name == name)
        .ok_or_else(|| {
            Error::new(
                Kind::JobUnknownNetwork,
                format!("Instance group '{group}' references an unknown network '{name}'"),
            )
        })?;
    if network.kind == NetworkKind::Dynamic && section.has("static_ips") {
        return Err(Error::new(
            Kind::JobStaticIpNotSupportedOnDynamicNetwork,
            format!(
                "Instance group '{group}' using dynamic network '{name}' cannot specify static IP(s)"
            ),
        ));
    }
    // An address asked for stands for the block that the network hands out.
    let static_ips = static_ips.map(|ips| {
        ips.into_iter()
            .map(|ip| {
                if ip.prefix() > network.prefix {
                    Block::containing(ip.address(), network.prefix)
                } else {
                    ip
                }
            })
            .collect()
    });
    Ok(GroupNetwork {
        network: Arc::clone(network),
        static_ips,
        default_for,
        nic_group: nic_group.map(|text| text.trim().parse().unwrap_or(0)),
    })
}

fn static_ips(value: &Value, group: &str) -> Result<Vec<Block>, Error> {
    let invalid = |message: String| Error::new(Kind::NetworkInvalidIpRangeFormat, message);
    let texts: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    };
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for text in texts {
        let text = text
            .as_str()
            .ok_or_else(|| invalid(format!("Invalid IP or CIDR format: {}", inspect(text))))?;
        for block in parse_range(text).map_err(invalid)? {
            if block.count().saturating_add(all.len() as u128) > MOST_STATIC_IPS {
                return Err(invalid(format!(
                    "Invalid IP range format: {text} holds more than {MOST_STATIC_IPS} IPs"
                )));
            }
            for ip in block.blocks(if block.is_v6() { 128 } else { 32 }) {
                if !seen.insert(ip) {
                    return Err(Error::new(
                        Kind::JobInvalidStaticIps,
                        format!(
                            "Instance group '{group}' specifies static IP '{ip}' more than once"
                        ),
                    ));
                }
                all.push(ip);
            }
        }
    }
    Ok(all)
}

fn azs(
    section: Section<'_>,
    group: &str,
    networks: &[GroupNetwork],
    context: &Context<'_>,
) -> Result<Vec<Arc<Az>>, Error> {
    let names = section.optional_array("azs")?;
    for network in networks {
        let serves = match names {
            None => network.network.serves([None]),
            Some(names) => network.network.serves(
                names
                    .iter()
                    .filter(|name| !name.is_null())
                    .map(Value::as_str),
            ),
        };
        if !serves {
            return Err(Error::new(
                Kind::JobNetworkMissingRequiredAvailabilityZone,
                format!(
                    "Instance group '{group}' must specify availability zone that matches availability zones of network '{}'",
                    network.network.name
                ),
            ));
        }
    }
    let Some(names) = names else {
        return Ok(Vec::new());
    };
    if names.is_empty() {
        return Err(Error::new(
            Kind::JobMissingAvailabilityZones,
            format!("Instance group '{group}' has empty availability zones"),
        ));
    }
    let lookup = |name: &Value| {
        let Value::String(name) = name else {
            return Err(Error::new(
                Kind::JobInvalidAvailabilityZone,
                format!(
                    "Instance group '{group}' has invalid availability zone '{}', string expected",
                    if name.is_null() {
                        String::new()
                    } else {
                        inspect(name)
                    }
                ),
            ));
        };
        context
            .cloud
            .azs
            .iter()
            .find(|az| az.name == *name)
            .cloned()
            .ok_or_else(|| {
                Error::new(
                    Kind::JobUnknownAvailabilityZone,
                    format!(
                        "Instance group '{group}' references unknown availability zone '{name}'"
                    ),
                )
            })
    };
    names.iter().map(lookup).collect()
}

fn migrated_from(
    section: Section<'_>,
    group: &str,
    azs: &[Arc<Az>],
) -> Result<Vec<MigratedFrom>, Error> {
    let read = |spec: &Value| {
        let entry = Section::of(spec)?;
        let name = entry.string("name")?;
        let az = entry.optional_string("az")?;
        if let Some(az) = &az
            && !azs.iter().any(|known| known.name == *az)
        {
            return Err(Error::new(
                Kind::DeploymentInvalidMigratedFromJob,
                format!(
                    "Instance group '{name}' specified for migration to instance group '{group}' refers to availability zone \
                     '{az}'. Az '{az}' is not in the list of availability zones of instance group '{group}'."
                ),
            ));
        }
        Ok(MigratedFrom { name, az })
    };
    section
        .array_or_empty("migrated_from")?
        .iter()
        .map(read)
        .collect()
}

const STATES: &str = "started, stopped, detached, recreate, restart";

impl State {
    /// Reads a state's name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "started" => Self::Started,
            "stopped" => Self::Stopped,
            "detached" => Self::Detached,
            "recreate" => Self::Recreate,
            "restart" => Self::Restart,
            _ => return None,
        })
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Detached => "detached",
            Self::Recreate => "recreate",
            Self::Restart => "restart",
        }
    }

    /// The state that stays: `recreate` and `restart` lead to `started`.
    pub fn lasting(self) -> Self {
        match self {
            Self::Recreate | Self::Restart => Self::Started,
            other => other,
        }
    }
}

fn state(section: Section<'_>, group: &str) -> Result<Option<State>, Error> {
    let Some(text) = section.optional_string("state")? else {
        return Ok(None);
    };
    State::parse(&text).map(Some).ok_or_else(|| {
        Error::new(
            Kind::InstanceGroupInvalidState,
            format!("Invalid state '{text}' for '{group}', valid states are: {STATES}"),
        )
    })
}

fn instance_states(section: Section<'_>, group: &str) -> Result<BTreeMap<String, State>, Error> {
    let mut all = BTreeMap::new();
    for (key, value) in section.hash_or_empty("instance_states")? {
        let state = value.as_str().and_then(State::parse).ok_or_else(|| {
            let text = value
                .as_str()
                .map_or_else(|| inspect(&value), str::to_owned);
            Error::new(
                Kind::InstanceGroupInvalidInstanceState,
                format!("Invalid state '{text}' for '{group}/{key}', valid states are: {STATES}"),
            )
        })?;
        all.insert(key, state);
    }
    Ok(all)
}
