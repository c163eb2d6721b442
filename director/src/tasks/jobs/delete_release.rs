//! Deletes a release or one version of it.

use serde::{Deserialize, Serialize};

use crate::app::Director;
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
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
