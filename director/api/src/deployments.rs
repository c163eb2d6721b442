//! `/deployments` and what is below it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A deployment in the list. Excluded parts are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// The teams it belongs to.
    #[serde(default)]
    pub teams: Vec<String>,
    /// `none`, `latest` or `outdated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_config: Option<String>,
    /// What it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stemcells: Option<Vec<NameVersion>>,
    /// What it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub releases: Option<Vec<NameVersion>>,
    /// Whether a task works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
}

/// A name and a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NameVersion {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// `GET /deployments/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Manifest {
    /// As the user wrote it; null before the first deploy has ended.
    pub manifest: Option<String>,
}

/// A VM, or an instance, without asking its agent. Of the last three, a VM has
/// the first two and an instance the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Instance {
    /// The agent's id.
    pub agent_id: Option<String>,
    /// The cloud's id.
    pub cid: Option<String>,
    /// The instance group.
    pub job: String,
    /// The number within the group.
    pub index: i32,
    /// The instance's id.
    pub id: Option<String>,
    /// The availability zone.
    pub az: Option<String>,
    /// Its addresses.
    #[serde(default)]
    pub ips: Vec<String>,
    /// `2026-01-31T23:59:59Z`.
    #[serde(default)]
    pub vm_created_at: Option<String>,
    /// Whether it is the instance's current VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Whether its certificate is the lasting one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent_nats_credentials: Option<bool>,
    /// Whether there should be a VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expects_vm: Option<bool>,
}

/// One instance: `GET /deployments/NAME/jobs/GROUP/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceDetails {
    /// The deployment.
    pub deployment: String,
    /// The instance group.
    pub job: String,
    /// The number within the group.
    pub index: i32,
    /// The instance's id.
    pub id: Option<String>,
    /// `started`, `stopped` or `detached`.
    pub state: String,
    /// The clouds' ids of its disks.
    pub disks: Vec<String>,
}

/// A line of the result of `GET .../vms?format=full` and `.../instances?format=full`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmState {
    /// The cloud's id.
    pub vm_cid: Option<String>,
    /// Whether it is the instance's current VM.
    pub active: Option<bool>,
    /// `2026-01-31T23:59:59Z`.
    pub vm_created_at: Option<String>,
    /// The VM's cloud properties.
    pub cloud_properties: Value,
    /// The cloud's id of the managed disk.
    pub disk_cid: Option<String>,
    /// The clouds' ids of all disks.
    pub disk_cids: Vec<String>,
    /// Its addresses.
    pub ips: Vec<String>,
    /// The agent's id.
    pub agent_id: Option<String>,
    /// The instance group.
    pub job_name: String,
    /// The number within the group.
    pub index: i32,
    /// As the agent says; `unresponsive agent` when it does not.
    pub job_state: Option<String>,
    /// What the operator wants.
    pub state: String,
    /// The VM type's name.
    pub vm_type: Option<String>,
    /// As the agent says.
    pub vitals: Option<Value>,
    /// As the agent says.
    pub processes: Vec<Value>,
    /// The availability zone.
    pub az: Option<String>,
    /// The instance's id.
    pub id: Option<String>,
    /// Whether it is its group's bootstrap instance.
    pub bootstrap: Option<bool>,
    /// Whether deploys leave it alone.
    pub ignore: Option<bool>,
    /// What the VM was made from.
    pub stemcell: StemcellReference,
}

/// What a VM was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StemcellReference {
    /// The stemcell's name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What its agent understands.
    pub api_version: Option<i32>,
}

/// `{"name": ...}`: an errand of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Errand {
    /// An instance group or a job.
    pub name: String,
}

/// A run of an errand: `POST /deployments/NAME/errands/ERRAND/runs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunErrand {
    /// Keep the VM that was made for it.
    #[serde(default, rename = "keep-alive")]
    pub keep_alive: bool,
    /// Only if something changed.
    #[serde(default, rename = "when-changed")]
    pub when_changed: bool,
    /// Only on these instances.
    #[serde(default)]
    pub instances: Vec<ErrandInstance>,
}

/// Where to run an errand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrandInstance {
    /// The instance group.
    pub group: String,
    /// The id or index; all of the group if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// A variable's value in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Variable {
    /// The value's id.
    pub id: String,
    /// The variable's absolute name.
    pub name: String,
}

/// A problem that cloud check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Its number.
    pub id: i32,
    /// `unresponsive_agent`, `missing_vm`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// What the scan noted.
    pub data: Value,
    /// In words.
    pub description: String,
    /// What can be done.
    pub resolutions: Vec<Resolution>,
    /// Of which instance group.
    pub instance_group: String,
}

/// What can be done about a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resolution {
    /// Such as `recreate_vm`.
    pub name: String,
    /// In words.
    pub plan: String,
}

/// What to do about problems: `PUT /deployments/NAME/problems`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApplyResolutions {
    /// The resolution's name by the problem's number.
    #[serde(default)]
    pub resolutions: BTreeMap<String, Value>,
    /// By instance group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight_overrides: Option<BTreeMap<String, Value>>,
}

/// Instances to repair: `PUT /deployments/NAME/scan_and_fix`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScanAndFix {
    /// Ids or indices by instance group.
    pub jobs: BTreeMap<String, Vec<Value>>,
}

/// `PUT /deployments/NAME/instance_groups/GROUP/ID/ignore`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ignore {
    /// Whether deploys and repairs leave it alone.
    pub ignore: bool,
}

/// `GET /resurrection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resurrection {
    /// Whether VMs are repaired at all.
    pub resurrection: bool,
}

/// `PUT /resurrection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetResurrection {
    /// Whether to stop repairing VMs.
    pub resurrection_paused: bool,
}

/// A certificate among a deployment's variables: `GET /deployments/NAME/certificate_expiry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateExpiry {
    /// The variable's name.
    pub name: String,
    /// The value's id.
    pub id: String,
    /// When it stops being valid, ISO 8601.
    pub expiry_date: String,
    /// Whole days until then.
    pub days_left: i64,
}

/// A property set apart from the manifest: `GET` and `POST /deployments/NAME/properties`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Property {
    /// Its name; dots make levels.
    pub name: String,
    /// Its value, as YAML.
    pub value: String,
}

/// Only the value: `GET` and `PUT /deployments/NAME/properties/PROPERTY`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PropertyValue {
    /// Its value, as YAML.
    pub value: String,
}
