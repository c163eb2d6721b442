//! Deletes a deployment.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Deletes a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteDeployment {
    /// The deployment's name.
    pub deployment: String,
    /// Go on when something cannot be deleted.
    #[serde(default)]
    pub force: bool,
    /// Do not delete the disks' snapshots.
    #[serde(default)]
    pub keep_snapshots: bool,
}

impl DeleteDeployment {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
