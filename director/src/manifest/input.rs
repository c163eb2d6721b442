//! Everything the meaning of a manifest depends on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::variables::Values;

/// What [`super::resolve`] is given. The caller loads it; nothing else is consulted.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The deployment manifest, from [`super::raw::parse`].
    pub manifest: Value,
    /// The cloud configs that apply, oldest name first as upstream orders them.
    pub cloud_configs: Vec<Config>,
    /// The runtime configs that apply.
    pub runtime_configs: Vec<Config>,
    /// Names of the CPIs in the CPI configs; empty when there is only the director's own.
    pub cpis: Vec<String>,
    /// Every uploaded version of the releases that the manifest or a runtime config names.
    /// More of them do no harm.
    pub releases: Vec<std::sync::Arc<catalog::ReleaseVersion>>,
    /// Every uploaded stemcell.
    pub stemcells: Vec<catalog::Stemcell>,
    /// Values of the variables that may be used outside of properties (instance counts, names, sizes).
    pub values: Values,
    /// Names of the teams that own the deployment, for addon filters.
    pub teams: Vec<String>,
    /// What the operator asked for beside the manifest.
    pub options: Options,
    /// What director.yml says.
    pub settings: Settings,
}

/// A named cloud or runtime config.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// Row id, so that the caller can record which ones were used.
    pub id: i64,
    /// `default` unless given.
    pub name: String,
    /// The document.
    pub content: Value,
}

/// Flags of a deploy and of the state-changing commands. Upstream: `update_deployment` options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// A full deploy, as against a change of state of some instances.
    pub deploy: bool,
    /// Recreate every VM.
    pub recreate: bool,
    /// With `recreate`: only VMs created before this RFC 3339 time.
    pub recreate_vms_created_before: Option<String>,
    /// Recreate every persistent disk.
    pub recreate_persistent_disks: bool,
    /// Recreate VMs whose agent does not answer.
    pub fix: bool,
    /// Instance groups to stop without draining: names separated by commas, or `*`.
    pub skip_drain: Option<String>,
    /// `canaries` from the command line, a number or `N%`; beats every `update` section.
    pub canaries: Option<String>,
    /// `max_in_flight` from the command line, a number or `N%`.
    pub max_in_flight: Option<String>,
    /// States asked for on the command line: instance group (or `*`) to
    /// `{"state": "stopped"}` or `{"instance_states": {"<index or id>": "stopped"}}`.
    pub job_states: BTreeMap<String, Map<String, Value>>,
    /// Whether this is `--dry-run`.
    pub dry_run: bool,
    /// An errand's instance group that is to be started now: it gets addresses and VMs as services do.
    pub start_errand: Option<String>,
    /// Properties set apart from the manifest: what it says goes before them.
    pub properties: Map<String, Value>,
}

/// What director.yml adds to the meaning of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `director.name`, the first part of a variable's name.
    pub director_name: String,
    /// Domain of all DNS names; `bosh` unless configured.
    pub root_domain: String,
    /// `local_dns.enabled`.
    pub local_dns_enabled: bool,
    /// `local_dns.use_dns_addresses`, the default of the feature of that name.
    pub use_dns_addresses: bool,
    /// `default_update_vm_strategy`.
    pub default_vm_strategy: Option<String>,
    /// `remove_dev_tools`, put in every `env.bosh`.
    pub remove_dev_tools: bool,
    /// `ignore_missing_gateway`: a subnet may lack its gateway.
    pub ignore_missing_gateway: bool,
    /// `director_ips`: addresses no instance may have.
    pub director_ips: Vec<String>,
    /// SHA-1 of the trusted certificates as the director now hands them out.
    pub trusted_certs_sha1: String,
    /// SHA-1 over the blobstore configuration as handed to agents.
    pub blobstore_config_sha1: String,
    /// SHA-1 over the NATS configuration as handed to agents.
    pub nats_config_sha1: String,
    /// Networks that CPIs made; `None` when `networks.enable_cpi_management` is off.
    pub managed_networks: Option<ManagedNetworks>,
}

/// Networks that CPIs made: name of the network -> name of the subnet -> what was made.
pub type ManagedNetworks = BTreeMap<String, BTreeMap<String, ManagedSubnet>>;

/// A subnet that a CPI made: what it says goes before the cloud config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ManagedSubnet {
    /// Its addresses.
    pub range: Option<String>,
    /// Its gateway.
    pub gateway: Option<String>,
    /// Addresses never handed out, beside those of the cloud config: a list of addresses and ranges.
    pub reserved: Value,
    /// What VMs on it get as its cloud properties.
    pub cloud_properties: Map<String, Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            director_name: "director".into(),
            root_domain: "bosh".into(),
            local_dns_enabled: false,
            use_dns_addresses: false,
            default_vm_strategy: None,
            remove_dev_tools: false,
            ignore_missing_gateway: false,
            director_ips: Vec::new(),
            trusted_certs_sha1: String::new(),
            blobstore_config_sha1: String::new(),
            nats_config_sha1: String::new(),
            managed_networks: None,
        }
    }
}

/// What has been uploaded.
pub mod catalog {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde::{Deserialize, Serialize};
    use serde_json::{Map, Value};

    /// One version of a release with its jobs and packages.
    #[derive(Debug, Clone, Default)]
    pub struct ReleaseVersion {
        /// Row id of the version.
        pub id: i64,
        /// Name of the release.
        pub name: String,
        /// Its version.
        pub version: String,
        /// Jobs in it.
        pub jobs: Vec<Arc<Job>>,
        /// Packages in it.
        pub packages: Vec<Arc<Package>>,
    }

    impl ReleaseVersion {
        /// The job called `name`.
        pub fn job(&self, name: &str) -> Option<&Arc<Job>> {
            self.jobs.iter().find(|job| job.name == name)
        }

        /// The package called `name`.
        pub fn package(&self, name: &str) -> Option<&Arc<Package>> {
            self.packages.iter().find(|package| package.name == name)
        }

        /// `names` and everything they are compiled against, dependencies before dependents.
        /// Unknown names are left out; a cycle ends where it closes.
        pub fn closure<'a>(
            &'a self,
            names: impl IntoIterator<Item = &'a str>,
        ) -> Vec<&'a Arc<Package>> {
            fn visit<'a>(
                release: &'a ReleaseVersion,
                name: &'a str,
                seen: &mut BTreeSet<&'a str>,
                out: &mut Vec<&'a Arc<Package>>,
            ) {
                if !seen.insert(name) {
                    return;
                }
                if let Some(package) = release.package(name) {
                    for dependency in &package.dependencies {
                        visit(release, dependency, seen, out);
                    }
                    out.push(package);
                }
            }
            let (mut seen, mut out) = (BTreeSet::new(), Vec::new());
            for name in names {
                visit(self, name, &mut seen, &mut out);
            }
            out
        }
    }

    /// A job of a release. Upstream: models/template.rb.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    pub struct Job {
        /// Row id.
        pub id: i64,
        /// Name.
        pub name: String,
        /// Version (as a rule the fingerprint).
        pub version: String,
        /// Fingerprint.
        pub fingerprint: String,
        /// Digest of its tarball, as uploaded.
        pub sha1: String,
        /// Blob of its tarball.
        pub blobstore_id: String,
        /// `job.MF` as it was in the tarball.
        pub spec: JobSpec,
    }

    /// The parts of a `job.MF` that matter here.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    pub struct JobSpec {
        /// Template in `templates/` -> path below the job's directory, in the order written.
        pub templates: Map<String, Value>,
        /// Packages it needs at run time.
        pub packages: Vec<String>,
        /// Property name -> `{description, default, example}`.
        pub properties: Map<String, Value>,
        /// Links it offers: `[{name, type, shared, properties}]`.
        pub provides: Vec<Value>,
        /// Links it wants: `[{name, type, optional, ip_addresses}]`.
        pub consumes: Vec<Value>,
        /// `logs`, as written.
        pub logs: Value,
    }

    /// A package of a release. Upstream: models/package.rb.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Package {
        /// Row id.
        pub id: i64,
        /// Name.
        pub name: String,
        /// Version (as a rule the fingerprint).
        pub version: String,
        /// Fingerprint.
        pub fingerprint: String,
        /// Digest of its source tarball; absent in a compiled release.
        pub sha1: Option<String>,
        /// Blob of its source tarball; absent in a compiled release.
        pub blobstore_id: Option<String>,
        /// Packages it is compiled against.
        pub dependencies: Vec<String>,
    }

    /// An uploaded stemcell. Upstream: models/stemcell.rb.
    #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Stemcell {
        /// Row id.
        pub id: i64,
        /// Name, as `bosh-warden-boshlite-ubuntu-noble`.
        pub name: String,
        /// Operating system, as `ubuntu-noble`.
        pub os: String,
        /// Version.
        pub version: String,
        /// What the CPI calls it.
        pub cid: String,
        /// The CPI it was uploaded through; empty for the director's own.
        pub cpi: String,
        /// `api_version` of its agent.
        pub api_version: Option<u32>,
    }
}
