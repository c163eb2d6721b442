//! Attaches a disk to an instance in place of its own.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Attaches a disk to an instance in place of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachDisk {
    /// The deployment's name.
    pub deployment: String,
    /// The instance group.
    pub group: String,
    /// The instance's uuid or index.
    pub instance: String,
    /// The cloud's id of the disk.
    pub disk_cid: String,
    /// `copy` to copy the data, empty to use the disk itself.
    #[serde(default)]
    pub disk_properties: String,
}

impl AttachDisk {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
