//! Repairs problems as told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::Director;
use crate::deploy::scope::Scope;
use crate::problems::{self, Resolutions};
use crate::tasks::{Context, Error};

/// Repairs problems as told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplyResolutions {
    /// The deployment's name.
    pub deployment: String,
    /// The resolution's name by the problem's id.
    pub resolutions: BTreeMap<String, Value>,
    /// Instead of the manifest's `max_in_flight`, by instance group.
    #[serde(default)]
    pub max_in_flight_overrides: BTreeMap<String, Value>,
}

impl ApplyResolutions {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let lock = task.lock_deployment(&self.deployment).await?;
        let done = self.apply(&scope).await;
        lock.release().await;
        done
    }

    async fn apply(&self, scope: &Scope) -> Result<String, Error> {
        let resolutions: Resolutions = self
            .resolutions
            .iter()
            .map(|(id, name)| (id.clone(), name.as_str().map(str::to_owned)))
            .collect();
        let overrides: BTreeMap<String, String> = self
            .max_in_flight_overrides
            .iter()
            .map(|(group, amount)| (group.clone(), text(amount)))
            .collect();
        let (solved, complaints) = problems::apply(scope, &resolutions, &overrides).await?;
        if !complaints.is_empty() {
            return Err(Error::other(complaints.join("\n")));
        }
        problems::post_deploy(scope).await?;
        Ok(format!("{solved} resolved"))
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
