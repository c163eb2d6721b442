//! What differs, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::placement::PlacedInstance;
use super::spec::Spec;
use crate::manifest::resolved::{Disk, Lifecycle};
use crate::manifest::update::{Update, VmStrategy};
use crate::manifest::{State, catalog};
use crate::variables::Values;

/// What became known after the placement.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    /// Values of the deployment's variables, as of the variable set of this deploy.
    pub values: Values,
    /// Compiled packages.
    pub compiled: Compiled,
    /// Rendered templates, by the instance's uuid.
    pub rendered: BTreeMap<String, Rendered>,
    /// Cloud properties the CPI computed for `vm_resources`, by instance group and CPI.
    pub vm_resources: BTreeMap<(String, String), Map<String, Value>>,
    /// Instances whose DNS records differ from those on record, by uuid.
    pub dns_changed: BTreeSet<String>,
    /// Values of other deployments' variables, for the properties of links from there.
    pub foreign: BTreeMap<String, Values>,
}

/// Compiled packages by (package row id, stemcell os, stemcell version).
#[derive(Debug, Clone, Default)]
pub struct Compiled(pub BTreeMap<(i64, String, String), CompiledPackage>);

/// A compiled package as agents are told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompiledPackage {
    /// Name of the package.
    pub name: String,
    /// `<version>.<build>`.
    pub version: String,
    /// Digest of the compiled tarball.
    pub sha1: String,
    /// Its blob.
    pub blobstore_id: String,
}

/// An instance's rendered templates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// SHA-1 over everything rendered.
    pub configuration_hash: String,
    /// SHA-1 per job.
    pub template_hashes: BTreeMap<String, String>,
    /// Blob of the archive and its digest, once uploaded.
    pub archive: Option<(String, String)>,
}

/// All that has to happen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plan {
    /// Name of the deployment.
    pub deployment: String,
    /// Instances of groups that are gone. They are deleted first.
    pub deletions: Vec<Deletion>,
    /// Groups in the order of the manifest.
    pub groups: Vec<GroupPlan>,
    /// Indexes into `groups`: batches one after another, groups of a batch at the same time.
    pub batches: Vec<Vec<usize>>,
}

impl Plan {
    /// Whether nothing at all has to happen.
    pub fn is_empty(&self) -> bool {
        self.deletions.is_empty()
            && self
                .groups
                .iter()
                .all(|group| group.deletions.is_empty() && group.rounds.is_empty())
    }

    /// Every instance that is to be.
    pub fn instances(&self) -> impl Iterator<Item = &InstancePlan> {
        self.groups.iter().flat_map(|group| &group.instances)
    }
}

/// An instance to delete, with its VM; its disks are orphaned, its addresses given up.
#[derive(Debug, Clone, Serialize)]
pub struct Deletion {
    /// Index into [`super::Current::instances`].
    pub existing: usize,
    /// Row id.
    pub id: i64,
    /// `group/uuid (index)`.
    pub display: String,
    /// Whether its processes stop without draining.
    pub skip_drain: bool,
}

/// What has to happen to a group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupPlan {
    /// Its name.
    pub name: String,
    /// Service or errand.
    pub lifecycle: Lifecycle,
    /// How it is updated.
    pub update: Update,
    /// Whether it takes part in this deploy: services do, errands if they have a VM.
    pub starts_on_deploy: bool,
    /// Instances it has too many, deleted before the others are updated.
    pub deletions: Vec<Deletion>,
    /// Every instance in the order in which they are updated, also those that stay as they are.
    pub instances: Vec<InstancePlan>,
    /// Who is updated when. Rounds go one after another; empty when all stays as it is.
    pub rounds: Vec<Round>,
}

/// Instances updated together: those of one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Indexes into [`GroupPlan::instances`] of those tried first; they have to succeed.
    pub canaries: Vec<usize>,
    /// The others.
    pub rest: Vec<usize>,
    /// How many at a time.
    pub max_in_flight: usize,
}

/// What has to happen to an instance.
#[derive(Debug, Clone, Serialize)]
pub struct InstancePlan {
    /// Where it is, and its addresses.
    pub placed: PlacedInstance,
    /// Row id of an existing one.
    pub id: Option<i64>,
    /// What is to be done.
    pub action: Action,
    /// Why: what differs.
    pub reasons: Vec<Reason>,
    /// State it should be in and stay in: never `recreate` or `restart`.
    pub state: State,
    /// Full spec, to be kept and sent.
    #[serde(skip)]
    pub spec: Spec,
    /// Stemcell of its VM.
    pub stemcell: catalog::Stemcell,
    /// Cloud properties for `create_vm`, placeholders unfilled.
    pub cloud_properties: Map<String, Value>,
    /// Environment for `create_vm`, placeholders unfilled.
    #[serde(skip)]
    pub env: Map<String, Value>,
    /// Persistent disks to make, change or give up.
    pub disks: Vec<DiskChange>,
    /// Persistent disks it should end up with.
    #[serde(skip)]
    pub desired_disks: Vec<Disk>,
    /// How its VM is replaced, if it is.
    pub vm_strategy: VmStrategy,
    /// Whether a new VM is made at the start of the deploy, for it has none.
    pub missing_vm: bool,
    /// Inactive VM (row id) that can take over, left by an earlier deploy.
    pub reusable_vm: Option<i64>,
    /// Inactive VMs (row ids) that fit no longer and are to be orphaned.
    pub orphan_vms: Vec<i64>,
    /// Whether its processes stop without draining.
    pub skip_drain: bool,
    /// Whether its agent did not answer.
    pub unresponsive: bool,
}

impl InstancePlan {
    /// Whether `change` is among the reasons.
    pub fn has(&self, change: Change) -> bool {
        self.reasons.iter().any(|reason| reason.change == change)
    }

    /// Whether anything differs.
    pub fn changed(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What is to be done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing; only its row is brought up to date.
    None,
    /// Left alone because the operator said so.
    Ignore,
    /// A new instance, or one that was detached: make its VM, then apply and start.
    Create,
    /// Replace its VM.
    Recreate,
    /// Drain, stop, apply, start on the VM it has.
    Update,
    /// Only tags of VM and disks, and DNS records: nothing stops.
    Metadata,
    /// Stop its processes, keep the VM.
    Stop,
    /// Stop its processes and delete the VM, keep disks and addresses.
    Detach,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// What differs.
    pub change: Change,
    /// In a few words, free of values that may be secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What can differ. Upstream: the symbols of `InstancePlan#changes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its last update did not come to an end.
    Dirty,
    /// A restart was asked for.
    Restart,
    /// A new VM was asked for, or its agent does not answer.
    Recreate,
    /// New disks were asked for.
    RecreatePersistentDisks,
    /// Cloud properties.
    CloudProperties,
    /// Stemcell.
    Stemcell,
    /// Environment.
    Env,
    /// Addresses or network settings.
    Network,
    /// Compiled packages.
    Packages,
    /// Persistent disks.
    PersistentDisk,
    /// Rendered templates.
    Configuration,
    /// Jobs.
    Job,
    /// State of the processes.
    State,
    /// DNS records.
    Dns,
    /// Certificates to trust.
    TrustedCerts,
    /// Where agents find blobs.
    BlobstoreConfig,
    /// Where agents find NATS.
    NatsConfig,
    /// Tags.
    Tags,
}

/// What has to happen to a persistent disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum DiskChange {
    /// Make and attach a new one.
    Create {
        /// Name, empty for the managed one.
        name: String,
        /// Size in MiB.
        size: u64,
    },
    /// Only grown: `resize_disk` or `update_disk` will do if the CPI can and the director may, else as `Migrate`.
    Resize {
        /// Row id.
        id: i64,
        /// New size in MiB.
        size: u64,
    },
    /// Make a new one, move the data over, orphan the old one.
    Migrate {
        /// Row id.
        id: i64,
        /// New size in MiB.
        size: u64,
    },
    /// Detach and orphan.
    Delete {
        /// Row id.
        id: i64,
    },
}
