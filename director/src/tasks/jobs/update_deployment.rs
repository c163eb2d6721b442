//! Deploys a manifest, or changes the state of instance groups.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::ConfigId;
use crate::tasks::{Context, Error};
use std::collections::BTreeMap;

/// How to deploy (upstream: deployments_controller.rb).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// A deploy, rather than a change of state.
    pub deploy: bool,
    /// The deployment did not exist before.
    pub new: bool,
    /// Only show what would be done.
    pub dry_run: bool,
    /// Recreate all VMs.
    pub recreate: bool,
    /// Only VMs made before this RFC 3339 time (with `recreate`).
    pub recreate_vms_created_before: Option<String>,
    /// Recreate all persistent disks.
    pub recreate_persistent_disks: bool,
    /// Recreate VMs whose agent does not answer, instead of failing.
    pub fix: bool,
    /// `*`, or names of instance groups separated by commas.
    pub skip_drain: Option<String>,
    /// Instead of the manifest's: a number or a percentage.
    pub canaries: Option<String>,
    /// Instead of the manifest's: a number or a percentage.
    pub max_in_flight: Option<String>,
    /// Use the newest values of variables that other deployments share.
    pub force_latest_variables: bool,
    /// The text to keep as the manifest that the user wrote, when `manifest` is not it.
    pub manifest_text: Option<String>,
    /// Instance groups whose state to change.
    pub job_states: BTreeMap<String, GroupState>,
}

/// The state that an instance group, or some instances of it, should be in:
/// `started`, `stopped`, `detached`, `restart` or `recreate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupState {
    /// Of the whole group.
    pub state: Option<String>,
    /// Of instances, by index.
    pub instance_states: BTreeMap<i32, String>,
}

/// Deploys a manifest, or changes the state of instance groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateDeployment {
    /// The deployment's name.
    pub deployment: String,
    /// The manifest, YAML.
    pub manifest: String,
    /// The cloud configs to deploy with.
    pub cloud_config_ids: Vec<ConfigId>,
    /// The runtime configs to deploy with.
    pub runtime_config_ids: Vec<ConfigId>,
    /// How.
    pub options: Options,
}

impl UpdateDeployment {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
