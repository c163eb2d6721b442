//! Deletes a stemcell from all CPIs.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::stemcell::delete;
use crate::tasks::{Context, Error};

/// Deletes a stemcell from all CPIs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteStemcell {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Go on when the CPI cannot delete it.
    #[serde(default)]
    pub force: bool,
}

impl DeleteStemcell {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let Self {
            name,
            version,
            force,
        } = self;
        delete::delete(director, task, &name, &version, force).await?;
        Ok(format!("/stemcells/{name}/{version}"))
    }
}
