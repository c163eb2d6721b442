//! Collects logs of instances into a blob; the result is its id.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::InstanceId;
use crate::tasks::{Context, Error};

/// Collects logs of instances into a blob; the result is its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FetchLogs {
    /// Whose.
    pub instances: Vec<InstanceId>,
    /// `job`, `agent`, `system`, or several separated by commas.
    pub log_type: String,
    /// Globs of the files wanted; empty for the usual ones.
    #[serde(default)]
    pub filters: Vec<String>,
}

impl FetchLogs {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
