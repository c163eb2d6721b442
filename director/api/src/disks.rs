//! `/disks`, `/orphaned_vms`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An orphaned disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrphanDisk {
    /// The cloud's id.
    pub disk_cid: String,
    /// In MiB.
    pub size: Option<i32>,
    /// Where it is.
    pub az: Option<String>,
    /// Whose it was.
    pub deployment_name: String,
    /// Whose it was: `group/id`.
    pub instance_name: String,
    /// Its cloud properties.
    pub cloud_properties: Value,
    /// `2026-01-31 23:59:59 UTC`.
    pub orphaned_at: String,
}

/// An orphaned VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanedVm {
    /// Where it is.
    pub az: Option<String>,
    /// The cloud's id.
    pub cid: String,
    /// Whose it was.
    pub deployment_name: Option<String>,
    /// Whose it was: `group/id`.
    pub instance_name: Option<String>,
    /// Its addresses.
    pub ip_addresses: Vec<String>,
    /// `2026-01-31 23:59:59 UTC`.
    pub orphaned_at: String,
}

/// A snapshot of an instance's disk: `GET /deployments/NAME/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The instance group.
    pub job: String,
    /// The instance's index.
    pub index: i32,
    /// The instance's id.
    pub uuid: Option<String>,
    /// The cloud's id.
    pub snapshot_cid: String,
    /// Taken when, as `2026-01-31 23:59:59 UTC`.
    pub created_at: String,
    /// Taken while nothing wrote to the disk.
    pub clean: bool,
}
