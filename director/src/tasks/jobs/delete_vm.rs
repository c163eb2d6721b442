//! Deletes a VM by the cloud's id.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Deletes a VM by the cloud's id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteVm {
    /// The cloud's id.
    pub cid: String,
}

impl DeleteVm {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
