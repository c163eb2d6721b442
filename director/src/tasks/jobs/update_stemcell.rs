//! Takes in a stemcell.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::release::Source;
use crate::stemcell::intake::Intake;
use crate::tasks::{Context, Error};

/// Takes in a stemcell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateStemcell {
    /// The uploaded archive, or where to get it.
    pub source: Source,
    /// The digest that the archive must have; may be a multi-digest.
    #[serde(default)]
    pub sha1: Option<String>,
    /// Upload again what is there already.
    #[serde(default)]
    pub fix: bool,
}

impl UpdateStemcell {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let intake = Intake {
            director,
            task,
            source: &self.source,
            sha1: self.sha1.as_deref(),
            fix: self.fix,
        };
        intake.run().await
    }
}
