//! Deletes what nothing uses any more.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Deletes what nothing uses any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupArtifacts {
    /// Everything unused, not only old versions.
    #[serde(default)]
    pub remove_all: bool,
    /// Keep orphaned disks (with `remove_all`).
    #[serde(default)]
    pub keep_orphaned_disks: bool,
}

impl CleanupArtifacts {
    /// What it would delete.
    pub async fn preview(&self, _db: &crate::db::Db) -> Result<serde_json::Value, Error> {
        Err(Error::other("this director cannot do that yet"))
    }

    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
