//! Looks at some instances and repairs them, for the health monitor.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::tasks::{Context, Error};

/// Looks at some instances and repairs them, for the health monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScanAndFix {
    /// The deployment's name.
    pub deployment: String,
    /// Instance group, and index or uuid.
    pub instances: Vec<(String, String)>,
    /// Also those with a persistent disk.
    #[serde(default)]
    pub fix_stateful: bool,
}

impl ScanAndFix {
    /// Runs the task.
    pub async fn run(self, _director: &Director, _task: &Context) -> Result<String, Error> {
        Err(Error::other("this director cannot do that yet"))
    }
}
