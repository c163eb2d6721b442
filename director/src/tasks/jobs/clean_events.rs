//! Forgets old events (upstream: jobs/scheduled_events_cleanup.rb).

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Forgets old events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanEvents {
    /// How many to keep.
    pub max_events: i64,
}

impl CleanEvents {
    /// Whether there are too many.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        Ok(db::events::count(&director.db).await? > self.max_events)
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let deleted = db::events::remove_old(&director.db, self.max_events.max(1)).await?;
        task.debug(format!("{deleted} events deleted"));
        Ok("Old events were deleted".to_owned())
    }
}
