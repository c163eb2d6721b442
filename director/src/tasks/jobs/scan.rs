//! Looks for problems of a deployment.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Looks for problems of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scan {
    /// The deployment's name.
    pub deployment: String,
}

impl Scan {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
