//! By the clock: deletes managed networks that were orphaned long ago (upstream:
//! jobs/scheduled_orphaned_network_cleanup.rb).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::delete_orphan_networks::delete;
use crate::app::Director;
use crate::db::{self, Timestamp};
use crate::tasks::{Context, Error};

/// Deletes managed networks that were orphaned long ago.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanOrphanedNetworks {
    /// How long ago, in days.
    pub max_orphaned_age_in_days: u64,
}

impl CleanOrphanedNetworks {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let (names, before) = self.old(director).await?;
        delete(director, task, &names).await?;
        Ok(format!(
            "Deleted {} orphaned networks(s) older than {}",
            names.len(),
            before.to_ruby()
        ))
    }

    /// Whether there is any.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        Ok(!self.old(director).await?.0.is_empty())
    }

    async fn old(&self, director: &Director) -> Result<(Vec<String>, Timestamp), Error> {
        let age = Duration::from_secs(self.max_orphaned_age_in_days.saturating_mul(24 * 60 * 60));
        let before = Timestamp::now() - age.min(Duration::from_secs(1_000_000_000));
        let networks = db::networks::list(&director.db).await?;
        let old = networks
            .into_iter()
            .filter(|network| network.orphaned == Some(true))
            .filter(|network| network.orphaned_at.is_some_and(|at| at < before))
            .map(|network| network.name);
        Ok((old.collect(), before))
    }
}
