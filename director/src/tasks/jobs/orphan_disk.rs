//! Takes a disk from its instance and keeps it as an orphan.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Takes a disk from its instance and keeps it as an orphan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrphanDisk {
    /// The cloud's id of the disk.
    pub disk_cid: String,
}

impl OrphanDisk {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
