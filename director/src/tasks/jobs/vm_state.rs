//! Asks agents for state and vitals; one JSON object per VM or instance in the result.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::DeploymentId;
use crate::tasks::{Context, Error};

/// Asks agents for state and vitals; one JSON object per VM or instance in the result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmState {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// `full`, passed to `get_state`.
    pub format: String,
    /// Every instance once, with or without VM; else every VM.
    #[serde(default)]
    pub instances: bool,
}

impl VmState {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
