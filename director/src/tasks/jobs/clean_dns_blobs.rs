//! Deletes old blobs of DNS records (upstream: jobs/scheduled_dns_blobs_cleanup.rb).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cleanup_artifacts::delete_blob;
use crate::app::Director;
use crate::db::{self, Db, Timestamp};
use crate::tasks::{Context, Error};

/// Deletes old blobs of DNS records.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanDnsBlobs {
    /// In seconds: younger ones stay.
    pub max_blob_age: u64,
    /// How many stay in any case.
    pub num_dns_blobs_to_keep: usize,
}

impl CleanDnsBlobs {
    /// Whether there are any.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        Ok(!self.pick(&director.db).await?.is_empty())
    }

    /// The oldest ones beyond those that stay.
    pub(super) async fn pick(&self, db: &Db) -> Result<Vec<db::misc::Blob>, Error> {
        let blobs = db::misc::blobs(db, "dns").await?;
        let extra = blobs.len().saturating_sub(self.num_dns_blobs_to_keep);
        let before = Timestamp::now() - Duration::from_secs(self.max_blob_age);
        Ok(blobs
            .into_iter()
            .take(extra)
            .filter(|blob| blob.created_at < before)
            .collect())
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let blobs = self.pick(&director.db).await?;
        for blob in &blobs {
            task.checkpoint()?;
            delete_blob(director, blob).await?;
        }
        let before = Timestamp::now() - Duration::from_secs(self.max_blob_age);
        Ok(format!(
            "Deleted {} dns blob(s) created before {}",
            blobs.len(),
            before.to_ruby()
        ))
    }
}
