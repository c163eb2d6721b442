//! Deletes all snapshots of a deployment.

use serde::{Deserialize, Serialize};

use super::delete_snapshots;
use crate::app::Director;
use crate::deploy::scope::Scope;
use crate::tasks::{Context, Error};

/// Deletes all snapshots of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteDeploymentSnapshots {
    /// The deployment's name.
    pub deployment: String,
}

impl DeleteDeploymentSnapshots {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        delete_snapshots::delete(&scope, None).await?;
        Ok(format!(
            "snapshots of deployment '{}' deleted",
            self.deployment
        ))
    }
}
