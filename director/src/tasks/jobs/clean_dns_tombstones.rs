//! Forgets tombstones of DNS records (upstream:
//! jobs/scheduled_dns_tombstone_cleanup.rb). The newest stays: it may be what
//! the version of the records is.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Forgets tombstones of DNS records.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanDnsTombstones {}

impl CleanDnsTombstones {
    /// Whether there is more than one.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        Ok(db::dns::tombstones(&director.db).await? > 1)
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, _task: &Context) -> Result<String, Error> {
        let count = db::dns::remove_tombstones(&director.db).await?;
        Ok(format!("Deleted {count} dns tombstone records"))
    }
}
