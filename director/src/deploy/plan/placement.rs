//! Which instances there are, where they are, and at which addresses.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::manifest::State;
use crate::manifest::ip::Block;

/// The instances a deployment should have, matched with those it has.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Placement {
    /// One per desired instance group, in the order of the manifest.
    pub groups: Vec<PlacedGroup>,
    /// Existing instances of groups that are gone: indexes into [`super::Current::instances`].
    pub obsolete: Vec<usize>,
}

impl Placement {
    /// The placed group called `name`.
    pub fn group(&self, name: &str) -> Option<&PlacedGroup> {
        self.groups.iter().find(|group| group.name == name)
    }
}

/// The instances of a group.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PlacedGroup {
    /// Its name.
    pub name: String,
    /// Its instances in the order in which they are updated.
    pub instances: Vec<PlacedInstance>,
    /// Existing instances it has too many: indexes into [`super::Current::instances`].
    pub obsolete: Vec<usize>,
}

/// An instance that should be.
#[derive(Debug, Clone, Serialize)]
pub struct PlacedInstance {
    /// Its group.
    pub group: String,
    /// Its id in the world outside, made up for a new one.
    pub uuid: String,
    /// Its index.
    pub index: u32,
    /// Its zone.
    pub az: Option<String>,
    /// The CPI of its zone; empty for the director's own.
    pub cpi: String,
    /// Whether it is the bootstrap instance.
    pub bootstrap: bool,
    /// Whether it is to be left alone.
    pub ignore: bool,
    /// State it should be in, as asked for: may be `recreate` or `restart`.
    pub state: State,
    /// Its present self: index into [`super::Current::instances`].
    pub existing: Option<usize>,
    /// Its addresses, including those it has to give up.
    pub reservations: Vec<Reservation>,
    /// `networks` of its spec: what `create_vm` and the agent are given. Upstream: network_settings.rb.
    pub networks: Map<String, Value>,
    /// Its address as others should use it: an IP, or a DNS name if the deployment wants those.
    pub address: String,
}

impl PlacedInstance {
    /// `group/uuid`, as upstream names an instance in paths and events.
    pub fn name(&self) -> String {
        format!("{}/{}", self.group, self.uuid)
    }

    /// `group/uuid (index)`, as upstream shows an instance in a task's stages.
    pub fn display(&self) -> String {
        format!("{}/{} ({})", self.group, self.uuid, self.index)
    }
}

/// An address of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reservation {
    /// Its network.
    pub network: String,
    /// The address; `None` in a dynamic network until the VM is there.
    pub block: Option<Block>,
    /// Whether it was asked for in the manifest.
    pub is_static: bool,
    /// Its interface, where several networks share one.
    pub nic_group: Option<i64>,
    /// Where it stands.
    pub status: ReservationStatus,
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationStatus {
    /// The instance has it and keeps it.
    Existing,
    /// It is to be written down before anything else happens.
    New,
    /// It is to be given up when the VM that has it is gone.
    Obsolete,
}
