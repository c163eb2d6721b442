//! What a manifest means: every name looked up, every default filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::input::{Options, Settings, catalog};
use super::ip::Block;
use super::update::{SkipDrain, Update};

/// A deployment as it should be.
///
/// Placeholders (`((name))`) in properties, `env`, network and VM cloud properties, and in link properties
/// are still there: they are filled in per instance, with the versions of that instance's variable set.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Name of the deployment.
    pub name: String,
    /// The manifest with `latest` and prefix versions replaced by what they stand for.
    pub manifest: Value,
    /// Releases in use, in the order of the manifest, then of the runtime configs.
    pub releases: Vec<Release>,
    /// Stemcells in use, by alias.
    pub stemcells: Vec<Arc<Stemcell>>,
    /// Availability zones of the cloud config.
    pub azs: Vec<Arc<Az>>,
    /// Networks of the cloud config.
    pub networks: Vec<Arc<Network>>,
    /// Disk types of the cloud config.
    pub disk_types: Vec<Arc<DiskType>>,
    /// How packages are compiled.
    pub compilation: Compilation,
    /// `update` of the deployment.
    pub update: Update,
    /// Variables to generate, in order: the deployment's, then the runtime configs'.
    pub variables: Vec<crate::variables::Definition>,
    /// `features`.
    pub features: Features,
    /// Tags for every VM and disk: runtime configs', beaten by the manifest's.
    pub tags: Map<String, Value>,
    /// Instance groups in order, addons included.
    pub instance_groups: Vec<InstanceGroup>,
    /// Ids of the runtime configs that turned out to apply.
    pub runtime_configs: Vec<i64>,
    /// Stop these without draining.
    pub skip_drain: SkipDrain,
    /// What the operator asked for beside the manifest.
    pub options: Options,
    /// What director.yml says.
    pub settings: Settings,
}

impl Desired {
    /// The instance group called `name`.
    pub fn instance_group(&self, name: &str) -> Option<&InstanceGroup> {
        self.instance_groups.iter().find(|group| group.name == name)
    }

    /// The network called `name`.
    pub fn network(&self, name: &str) -> Option<&Arc<Network>> {
        self.networks.iter().find(|network| network.name == name)
    }

    /// The release called `name`.
    pub fn release(&self, name: &str) -> Option<&Release> {
        self.releases.iter().find(|release| release.name == name)
    }

    /// Whether addresses of instances are DNS names rather than IPs.
    pub fn use_dns_addresses(&self) -> bool {
        self.features
            .use_dns_addresses
            .unwrap_or(self.settings.use_dns_addresses)
    }
}

/// A release in use.
#[derive(Debug, Clone)]
pub struct Release {
    /// Name.
    pub name: String,
    /// Version, `latest` replaced.
    pub version: String,
    /// What was uploaded under that name and version.
    pub catalog: Arc<catalog::ReleaseVersion>,
    /// Stemcells (os, version) a compiled release was exported for.
    pub exported_from: Vec<(String, String)>,
}

/// A stemcell in use: one entry of `stemcells`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stemcell {
    /// `alias`; runtime lookups go by it.
    pub alias: String,
    /// Name of the first match.
    pub name: String,
    /// Operating system.
    pub os: String,
    /// Version, `latest` and prefixes replaced.
    pub version: String,
    /// Every uploaded stemcell that matches: one per CPI.
    pub candidates: Vec<catalog::Stemcell>,
}

impl Stemcell {
    /// The candidate uploaded for `cpi` (empty: the director's own).
    pub fn for_cpi(&self, cpi: &str) -> Option<&catalog::Stemcell> {
        self.candidates.iter().find(|stemcell| stemcell.cpi == cpi)
    }

    /// `api_version` of its agent.
    pub fn api_version(&self) -> Option<u32> {
        self.candidates
            .first()
            .and_then(|stemcell| stemcell.api_version)
    }
}

/// An availability zone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Az {
    /// Name.
    pub name: String,
    /// Merged below the VM type's.
    pub cloud_properties: Map<String, Value>,
    /// Name of its CPI, when there are several.
    pub cpi: Option<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: NetworkKind,
    /// Length in bits of what an instance gets: 32 or 128 for an address, less for a block.
    pub prefix: u8,
    /// Its parts. A vip network may have none: then every address is given in the manifest.
    pub subnets: Vec<Subnet>,
    /// Of a vip network, or of a dynamic network without subnets.
    pub cloud_properties: Map<String, Value>,
    /// `managed`: the CPI creates it.
    pub managed: bool,
}

/// Kinds of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// The director hands out addresses.
    Manual,
    /// The IaaS hands out addresses.
    Dynamic,
    /// Addresses beside those of the interfaces.
    Vip,
}

/// A part of a network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subnet {
    /// `name`, needed of managed networks only.
    pub name: Option<String>,
    /// Its addresses; none in dynamic networks.
    pub range: Option<Block>,
    /// Its gateway.
    pub gateway: Option<Block>,
    /// Name servers; `None` when the manifest says nothing.
    pub dns: Option<Vec<String>>,
    /// Zones it serves; empty when it does not say.
    pub azs: Vec<String>,
    /// Addresses never handed out: reserved, gateway, network id, broadcast.
    pub restricted: Vec<Block>,
    /// Addresses only handed out on request; blocks as written.
    pub statics: Vec<Block>,
    /// For the CPI.
    pub cloud_properties: Map<String, Value>,
    /// Of managed networks: the size to ask for.
    pub netmask_bits: Option<u8>,
    /// Length in bits of what an instance gets from it.
    pub prefix: u8,
}

/// A disk type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskType {
    /// Name.
    pub name: String,
    /// Size in MiB.
    pub disk_size: u64,
    /// For the CPI.
    pub cloud_properties: Map<String, Value>,
}

/// A named bag of cloud properties: a VM type or a VM extension.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CloudType {
    /// Name.
    pub name: String,
    /// For the CPI.
    pub cloud_properties: Map<String, Value>,
}

/// Sizes instead of a VM type; the CPI's `calculate_vm_cloud_properties` turns them into cloud properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmResources {
    /// Virtual CPUs.
    pub cpu: i64,
    /// Memory in MiB.
    pub ram: i64,
    /// Ephemeral disk in MiB.
    pub ephemeral_disk_size: i64,
}

/// How packages are compiled.
#[derive(Debug, Clone, Default)]
pub struct Compilation {
    /// How many VMs at most.
    pub workers: u32,
    /// Their network.
    pub network: String,
    /// Their zone.
    pub az: Option<Arc<Az>>,
    /// Whether one VM compiles many packages.
    pub reuse_compilation_vms: bool,
    /// Orphan VMs instead of deleting them.
    pub orphan_workers: bool,
    /// Cloud properties of zone, VM type and extensions (or those written here), merged.
    pub cloud_properties: Map<String, Value>,
    /// `vm_resources`, to be turned into cloud properties by the CPI.
    pub vm_resources: Option<VmResources>,
    /// Environment of the VMs.
    pub env: Map<String, Value>,
}

/// `features` of a manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Addresses are DNS names.
    pub use_dns_addresses: Option<bool>,
    /// DNS names are of the short kind.
    pub use_short_dns_addresses: bool,
    /// DNS names of links name the link.
    pub use_link_dns_names: bool,
    /// Zones are picked at random among equals.
    pub randomize_az_placement: bool,
    /// Variables are made anew when their definition changes.
    pub converge_variables: bool,
    /// Job directories and agent settings on tmpfs.
    pub use_tmpfs_config: Option<bool>,
}

/// Service or errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// Runs all the time.
    Service,
    /// Runs when asked.
    Errand,
}

/// What state an instance should be in. The last two are asked for, never kept: they mean `started` and once
/// more from scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Processes run.
    Started,
    /// Processes stopped, VM kept.
    Stopped,
    /// No VM.
    Detached,
    /// Started, on a new VM.
    Recreate,
    /// Started, after a stop.
    Restart,
}

/// An instance group with everything it refers to.
#[derive(Debug, Clone)]
pub struct InstanceGroup {
    /// Name.
    pub name: String,
    /// Service or errand.
    pub lifecycle: Lifecycle,
    /// How many.
    pub instances: u32,
    /// Jobs in order, addons last.
    pub jobs: Vec<Job>,
    /// Run-time packages of the jobs, each once.
    pub packages: Vec<Arc<catalog::Package>>,
    /// Its stemcell.
    pub stemcell: Arc<Stemcell>,
    /// `vm_type`; exactly one of it and `vm_resources` is there.
    pub vm_type: Option<CloudType>,
    /// `vm_resources`.
    pub vm_resources: Option<VmResources>,
    /// `vm_extensions`.
    pub vm_extensions: Vec<CloudType>,
    /// `env`, as handed to `create_vm` once variables are filled in.
    pub env: Map<String, Value>,
    /// `update`, with the deployment's filled in below.
    pub update: Update,
    /// Networks in order.
    pub networks: Vec<GroupNetwork>,
    /// `dns`, `gateway`, `addressable` -> the network that provides it.
    pub default_networks: BTreeMap<String, String>,
    /// Zones; empty when networks have none.
    pub azs: Vec<Arc<Az>>,
    /// Former names.
    pub migrated_from: Vec<MigratedFrom>,
    /// State of all instances, when asked for.
    pub state: Option<State>,
    /// State of single instances, by id or index.
    pub instance_states: BTreeMap<String, State>,
    /// Persistent disks.
    pub disks: Vec<Disk>,
    /// Tags for its VMs.
    pub tags: Map<String, Value>,
}

impl InstanceGroup {
    /// Cloud properties of a VM in `az`: zone, VM type and extensions, later keys winning.
    pub fn cloud_properties(&self, az: Option<&Az>) -> Map<String, Value> {
        let mut merged = Map::new();
        let layers = az
            .map(|az| &az.cloud_properties)
            .into_iter()
            .chain(
                self.vm_type
                    .as_ref()
                    .map(|vm_type| &vm_type.cloud_properties),
            )
            .chain(
                self.vm_extensions
                    .iter()
                    .map(|extension| &extension.cloud_properties),
            );
        for layer in layers {
            for (key, value) in layer {
                merged.insert(key.clone(), value.clone());
            }
        }
        merged
    }

    /// The network whose address is the instance's own.
    pub fn address_network(&self) -> Option<&str> {
        self.default_networks
            .get("addressable")
            .or_else(|| self.default_networks.get("gateway"))
            .map(String::as_str)
    }

    /// Packages to compile for it: run-time packages and all they depend on, per release.
    pub fn packages_to_compile(&self) -> BTreeSet<(String, String)> {
        let mut all = BTreeSet::new();
        for job in &self.jobs {
            let names = job.catalog.spec.packages.iter().map(String::as_str);
            for package in job.release.closure(names) {
                all.insert((job.release_name.clone(), package.name.clone()));
            }
        }
        all
    }
}

/// A network as an instance group uses it.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNetwork {
    /// The network.
    pub network: Arc<Network>,
    /// Addresses asked for, one per instance.
    pub static_ips: Option<Vec<Block>>,
    /// What it is the default of: `dns`, `gateway`, `addressable`.
    pub default_for: Vec<String>,
    /// Networks with the same number share an interface.
    pub nic_group: Option<i64>,
}

/// A former name of an instance group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigratedFrom {
    /// The name.
    pub name: String,
    /// The zone its instances are in, when they do not know it.
    pub az: Option<String>,
}

/// A persistent disk an instance should have.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Empty for the one disk that the agent formats and mounts on `/var/vcap/store`.
    pub name: String,
    /// Size in MiB.
    pub size: u64,
    /// For the CPI.
    pub cloud_properties: Map<String, Value>,
    /// Name of its disk type; a made-up one when only a size was given.
    pub disk_type: String,
}

/// A job of an instance group.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name.
    pub name: String,
    /// Name of its release.
    pub release_name: String,
    /// Its release.
    pub release: Arc<catalog::ReleaseVersion>,
    /// The job as uploaded.
    pub catalog: Arc<catalog::Job>,
    /// Properties as given for it in the manifest.
    pub given: Map<String, Value>,
    /// Properties its templates see: those that its spec declares, defaults filled in, keys sorted.
    pub properties: Map<String, Value>,
    /// `provides` of the manifest: link name -> `{as, shared, aliases, ip_addresses}`, a string or nil.
    pub provides: Map<String, Value>,
    /// `consumes` of the manifest: link name -> `{from, deployment, network, ip_addresses}`, `instances`, or nil.
    pub consumes: Map<String, Value>,
    /// `custom_provider_definitions` of the manifest.
    pub custom_providers: Vec<Value>,
}
