//! Starts, stops, restarts or recreates one instance.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::InstanceId;
use crate::tasks::{Context, Error};

/// What to do with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Have its jobs run.
    Start,
    /// Have its jobs stopped.
    Stop,
    /// Stop, then start.
    Restart,
}

/// Starts, stops, restarts or recreates one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateInstance {
    /// The deployment's name.
    pub deployment: String,
    /// Which.
    pub instance: InstanceId,
    /// What to do with it.
    pub action: Action,
    /// Do not run its drain scripts.
    #[serde(default)]
    pub skip_drain: bool,
    /// Delete its VM too (`stop`), or get a new one (`restart`).
    #[serde(default)]
    pub hard: bool,
    /// Go on when its agent does not answer.
    #[serde(default)]
    pub ignore_unresponsive_agent: bool,
}

impl UpdateInstance {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
