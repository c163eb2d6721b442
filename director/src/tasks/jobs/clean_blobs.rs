//! Deletes blobs that nothing refers to: those of directors that were killed between storing a blob and writing its row, and
//! of agents that stored one and died. Ours: upstream leaves them for ever.

use std::time::{Duration, SystemTime};

use bosh_blobstore::Listed;
use bosh_director_api::Code;
use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error};

/// Younger ones may belong to a task that is not done.
const MIN_AGE: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_AGE: u64 = 7 * 24 * 3600;

/// Deletes blobs that nothing refers to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanBlobs {
    /// In seconds: younger ones stay; no less than a day.
    #[serde(default = "default_age")]
    pub max_blob_age: u64,
}

fn default_age() -> u64 {
    DEFAULT_AGE
}

impl CleanBlobs {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let failed = |error| Error::because(Code::Generic.number(), error);
        let age = Duration::from_secs(self.max_blob_age).max(MIN_AGE);
        let before = SystemTime::now() - age;
        let store = &director.blobstore;
        let abandoned = store.remove_abandoned(before).await.map_err(failed)?;
        // What is referred to is asked after what there is: a blob gets its row after it is there.
        let listed = match store.list().await {
            Err(bosh_blobstore::Error::CannotList) => {
                return Ok("The blobstore cannot list its blobs: none deleted".to_owned());
            }
            other => other.map_err(failed)?,
        };
        let referred_to = db::blobs::referred_to(&director.db).await?;
        let garbage = unreferenced(listed, before, |id| referred_to.contains(id));
        for blob in &garbage {
            task.checkpoint()?;
            store.delete(blob.id.as_str()).await.map_err(failed)?;
            tracing::info!(blob = %blob.id, "deleted a blob that nothing refers to");
        }
        let many = garbage.len();
        Ok(format!(
            "Deleted {many} unreferenced blob(s) and {abandoned} abandoned upload(s)"
        ))
    }
}

fn unreferenced(
    listed: Vec<Listed>,
    before: SystemTime,
    is_referred_to: impl Fn(&str) -> bool,
) -> Vec<Listed> {
    let garbage = listed
        .into_iter()
        .filter(|blob| blob.stored < before && !is_referred_to(blob.id.as_str()));
    garbage.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_and_nobodys_is_garbage() {
        let now = SystemTime::now();
        let blob = |id: &str, days: u32| Listed {
            id: id.into(),
            stored: now - days * MIN_AGE,
        };
        let listed = vec![blob("old", 9), blob("used", 9), blob("new", 1)];
        let garbage = unreferenced(listed, now - 7 * MIN_AGE, |id| id == "used");
        assert_eq!(garbage, [blob("old", 9)]);
    }
}
