//! A deployment as it is: plain data, loaded from the database and asked of the agents.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::manifest::State;
use crate::manifest::ip::Block;
use crate::variables::Values;

/// A deployment as it is.
#[derive(Debug, Clone, Default)]
pub struct Current {
    /// Whether it was ever deployed with success (the deployment's row has a manifest).
    pub deployed: bool,
    /// Tags as last deployed (`deployments.tags`).
    pub tags: Map<String, Value>,
    /// Its instances, compilation VMs left out.
    pub instances: Vec<Instance>,
    /// Every address in use by any deployment, this one's included (`ip_addresses.address_str`), and by whom.
    pub used_ips: BTreeMap<Block, IpOwner>,
    /// Values of the variable sets that `instances` refer to.
    pub variable_sets: BTreeMap<i64, Values>,
}

/// Who has an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IpOwner {
    /// Row id of the instance; `None` for an orphaned VM.
    pub instance: Option<i64>,
    /// `group/uuid` of it.
    pub name: String,
    /// Its deployment.
    pub deployment: String,
}

/// An existing instance. Upstream: models/instance.rb.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Row id.
    pub id: i64,
    /// Its id in the world outside.
    pub uuid: String,
    /// Instance group (`instances.job`).
    pub group: String,
    /// Index.
    pub index: u32,
    /// Zone.
    pub az: Option<String>,
    /// State it was last asked to be in.
    pub state: State,
    /// Whether it is its group's bootstrap instance.
    pub bootstrap: bool,
    /// Whether the operator said to leave it alone.
    pub ignore: bool,
    /// Whether its last update came to an end.
    pub update_completed: bool,
    /// Full spec as last applied (`instances.spec_json`), an empty object for none.
    pub spec: Value,
    /// Cloud properties its VM was made with, placeholders unfilled (`instances.cloud_properties`).
    pub cloud_properties: Map<String, Value>,
    /// Variable set it was last updated with.
    pub variable_set: i64,
    /// Its VM.
    pub vm: Option<Vm>,
    /// VMs made for it that are not yet, or no longer, its own.
    pub inactive_vms: Vec<Vm>,
    /// Its addresses.
    pub ips: Vec<Ip>,
    /// Its active persistent disks.
    pub disks: Vec<Disk>,
    /// What its agent says; `None` when there is no VM, or it is ignored.
    pub agent: Option<AgentState>,
}

impl Default for Instance {
    fn default() -> Self {
        Self {
            id: 0,
            uuid: String::new(),
            group: String::new(),
            index: 0,
            az: None,
            state: State::Started,
            bootstrap: false,
            ignore: false,
            update_completed: true,
            spec: Value::Object(Map::new()),
            cloud_properties: Map::new(),
            variable_set: 0,
            vm: None,
            inactive_vms: Vec::new(),
            ips: Vec::new(),
            disks: Vec::new(),
            agent: None,
        }
    }
}

/// A VM. Upstream: models/vm.rb.
#[derive(Debug, Clone)]
pub struct Vm {
    /// Row id.
    pub id: i64,
    /// What its CPI calls it.
    pub cid: String,
    /// Its agent.
    pub agent_id: String,
    /// Its CPI; empty for the director's own.
    pub cpi: String,
    /// Stemcell it was made from.
    pub stemcell_name: Option<String>,
    /// Version of that stemcell.
    pub stemcell_version: Option<String>,
    /// Environment it was made with, placeholders unfilled.
    pub env: Option<Map<String, Value>>,
    /// Cloud properties it was made with, placeholders unfilled.
    pub cloud_properties: Option<Map<String, Value>>,
    /// When it was made.
    pub created_at: Option<OffsetDateTime>,
    /// Fingerprint of the trusted certificates its agent has.
    pub trusted_certs_sha1: Option<String>,
    /// Fingerprint of the blobstore configuration its agent has.
    pub blobstore_config_sha1: Option<String>,
    /// Fingerprint of the NATS configuration its agent has.
    pub nats_config_sha1: Option<String>,
}

/// An address of an instance. Upstream: models/ip_address.rb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Its network.
    pub network: String,
    /// The address, or block of them.
    pub block: Block,
    /// Whether it was asked for in the manifest.
    pub is_static: bool,
    /// Its interface, where several networks share one.
    pub nic_group: Option<i64>,
    /// Row id of the VM that has it; `None` while no VM has it.
    pub vm: Option<i64>,
}

/// An active persistent disk. Upstream: models/persistent_disk.rb.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// Row id.
    pub id: i64,
    /// What the CPI calls it.
    pub cid: String,
    /// Empty for the one the agent mounts.
    pub name: String,
    /// Size in MiB.
    pub size: u64,
    /// Cloud properties it was made with, placeholders unfilled.
    pub cloud_properties: Map<String, Value>,
}

/// What an agent says of its VM.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentState {
    /// `running`, `stopped`, `failing`, ...; `unresponsive` when it does not answer and `fix` was asked for.
    pub job_state: String,
    /// `networks` of its state: of use for dynamic networks, whose addresses only the agent knows.
    pub networks: Value,
}
