//! Runs an errand.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Instances that an errand should run on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceFilter {
    /// The instance group.
    pub group: String,
    /// The index or uuid; all of the group if absent.
    #[serde(default)]
    pub id: Option<String>,
}

/// Runs an errand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunErrand {
    /// The deployment's name.
    pub deployment: String,
    /// The errand: an instance group or a job.
    pub errand: String,
    /// Keep the VM that was made for it.
    #[serde(default)]
    pub keep_alive: bool,
    /// Only if something changed since it last succeeded.
    #[serde(default)]
    pub when_changed: bool,
    /// Only on these instances; empty for all.
    #[serde(default)]
    pub instances: Vec<InstanceFilter>,
}

impl RunErrand {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
