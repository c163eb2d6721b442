//! Repairs problems as told.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};
use std::collections::BTreeMap;

/// Repairs problems as told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplyResolutions {
    /// The deployment's name.
    pub deployment: String,
    /// The resolution's name by the problem's id.
    pub resolutions: BTreeMap<String, serde_json::Value>,
    /// Instead of the manifest's `max_in_flight`, by instance group.
    #[serde(default)]
    pub max_in_flight_overrides: BTreeMap<String, serde_json::Value>,
}

impl ApplyResolutions {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
