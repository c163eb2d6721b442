//! Deletes orphaned disks.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Deletes orphaned disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteOrphanDisks {
    /// The clouds' ids.
    pub disk_cids: Vec<String>,
}

impl DeleteOrphanDisks {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
