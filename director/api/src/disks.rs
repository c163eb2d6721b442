//! `/disks`, `/orphaned_vms`, `/dynamic_disks`, `/networks`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An orphaned disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// A disk that was made apart from any deploy: `GET /dynamic_disks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DynamicDisk {
    /// What it was named.
    pub name: String,
    /// The cloud's id.
    pub disk_cid: String,
    /// The deployment's name.
    pub deployment: Option<String>,
    /// The instance it is attached to, `group/id`.
    pub instance: Option<String>,
    /// Where it is.
    pub availability_zone: Option<String>,
    /// Its size in MiB.
    pub size: i32,
    /// Its disk type.
    pub disk_pool_name: String,
    /// The name of its CPI, empty for the director's own.
    pub cpi: Option<String>,
    /// Tags.
    pub metadata: Value,
}

/// A disk to make: `POST /dynamic_disks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewDynamicDisk {
    /// The deployment's name.
    pub deployment_name: String,
    /// Where.
    pub az: String,
    /// What to name it.
    pub disk_name: String,
    /// Its disk type.
    pub disk_pool_name: String,
    /// Its size in MiB.
    pub disk_size: u64,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// A disk to attach: `POST /dynamic_disks/NAME/attach`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttachDynamicDisk {
    /// The instance's id.
    pub instance_id: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// A disk to make where there is none, and to attach: `POST /dynamic_disks/provide`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProvideDynamicDisk {
    /// The instance's id.
    pub instance_id: String,
    /// What to name it.
    pub disk_name: String,
    /// Its disk type.
    pub disk_pool_name: String,
    /// Its size in MiB.
    pub disk_size: u64,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// A managed network that no deployment uses: `GET /networks?orphaned=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrphanedNetwork {
    /// Its name.
    pub name: String,
    /// `manual` or `dynamic`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Made when, as `2026-01-31 23:59:59 UTC`.
    pub created_at: String,
    /// Orphaned when.
    pub orphaned_at: String,
}
