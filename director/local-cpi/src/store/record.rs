//! The records, as written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bosh_cpi::Object;
use serde::{Deserialize, Serialize};

use crate::container::Limits;
use crate::ids::{DiskCid, StemcellCid, VmCid};
use crate::network::Interface;

/// `stemcell.json`
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StemcellRecord {
    /// What becomes process 1, a path inside the image.
    pub(crate) init: String,
    /// As the director gave them.
    pub(crate) cloud_properties: Object,
}

/// `vm.json`
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VmRecord {
    pub(crate) agent_id: String,
    pub(crate) stemcell: StemcellCid,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) name_servers: Vec<IpAddr>,
    pub(crate) limits: Limits,
    /// Size of the ephemeral disk in MiB; none: a directory without a limit.
    pub(crate) ephemeral: Option<u64>,
    /// Disks by id.
    #[serde(default)]
    pub(crate) disks: BTreeMap<DiskCid, Attached>,
    /// From `set_vm_metadata`.
    #[serde(default)]
    pub(crate) metadata: Object,
}

impl VmRecord {
    /// All addresses the VM has.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.interfaces
            .iter()
            .map(|interface| interface.address.ip())
    }
}

/// How a disk shows in a VM's mount table, to find all mounts of it again.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attached {
    /// `major:minor`
    pub(crate) device: String,
    /// The mounted directory inside that file system.
    pub(crate) root: String,
}

/// How a disk is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DiskKind {
    /// `data/`
    Directory,
    /// `disk.img`, ext4
    Image,
}

/// `disk.json`, of a disk or a snapshot
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DiskRecord {
    /// MiB
    pub(crate) size: u64,
    pub(crate) kind: DiskKind,
    /// The VM it is attached to.
    pub(crate) vm: Option<VmCid>,
    /// From `set_disk_metadata` or `snapshot_disk`.
    #[serde(default)]
    pub(crate) metadata: Object,
}

impl DiskRecord {
    pub(crate) fn new(size: u64, kind: DiskKind) -> Self {
        Self {
            size,
            kind,
            vm: None,
            metadata: Object::new(),
        }
    }
}

/// `network.json`: what was made for VMs outside of them, and is removed by cleaning up.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// The bridge, if it was not there before.
    pub(crate) bridge: Option<String>,
    /// Rules that were added.
    #[serde(default)]
    pub(crate) nat: Vec<Masquerade>,
    /// Switches that were off before.
    #[serde(default)]
    pub(crate) switched_on: BTreeSet<String>,
}

/// Rules that let a subnet out.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(crate) struct Masquerade {
    /// The bridge its packets come from.
    pub(crate) bridge: String,
    /// `10.244.0.0/24`
    pub(crate) subnet: String,
}
