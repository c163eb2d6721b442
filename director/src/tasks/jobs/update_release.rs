//! Takes in a release.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::release::Source;
use crate::tasks::{Context, Error};

/// Takes in a release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateRelease {
    /// The uploaded archive, or where to get it.
    pub source: Source,
    /// The digest that the archive must have; may be a multi-digest.
    #[serde(default)]
    pub sha1: Option<String>,
    /// Give it a version of our own if it has packages or jobs that differ.
    #[serde(default)]
    pub rebase: bool,
    /// Upload again what is there already.
    #[serde(default)]
    pub fix: bool,
}

impl UpdateRelease {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
