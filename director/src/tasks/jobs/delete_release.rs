//! Deletes a release or one version of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::release::delete;
use crate::tasks::{Context, Error};

/// Deletes a release or one version of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteRelease {
    /// The release.
    pub name: String,
    /// One version; all if absent.
    #[serde(default)]
    pub version: Option<String>,
    /// Go on when a blob cannot be deleted.
    #[serde(default)]
    pub force: bool,
}

impl DeleteRelease {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let name = &self.name;
        let lock = task
            .lock(&format!("lock:release:{name}"), Duration::from_secs(10))
            .await?;
        let done = delete::delete(director, task, name, self.version.as_deref(), self.force).await;
        lock.release().await;
        done?;
        Ok(format!("/release/{name}"))
    }
}
