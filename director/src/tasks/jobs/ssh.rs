//! Sets up or cleans up ssh access.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::DeploymentId;
use crate::tasks::{Context, Error};

/// Sets up or cleans up ssh access.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ssh {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// The request, as the client sent it: `command`, `params`, `target`.
    pub request: serde_json::Value,
}

impl Ssh {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
