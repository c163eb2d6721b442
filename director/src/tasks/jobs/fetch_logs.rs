//! Collects logs of instances into a blob; the result is its id.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::{self, InstanceId};
use crate::deploy::scope::Scope;
use crate::deploy::{logs, parallel};
use crate::tasks::{Context, Error};

/// Collects logs of instances into a blob; the result is its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FetchLogs {
    /// Whose.
    pub instances: Vec<InstanceId>,
    /// `job`, `agent`, `system`, or several separated by commas.
    pub log_type: String,
    /// Globs of the files wanted; empty for the usual ones.
    #[serde(default)]
    pub filters: Vec<String>,
}

impl FetchLogs {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let Some(deployment) = task.deployment() else {
            return Err(Error::other("deployment parameter is required"));
        };
        let scope = Scope::of(director, task, deployment).await?;
        let kind = if self.log_type.is_empty() {
            "job"
        } else {
            &self.log_type
        };
        logs::remove_old(&scope).await?;
        let blob_id = match self.instances.as_slice() {
            [id] => {
                logs::fetch(&scope, *id, kind, &self.filters)
                    .await?
                    .blobstore_id
            }
            ids => {
                let fetched = parallel::each(scope.max_threads(), ids.iter().copied(), |id| {
                    logs::fetch(&scope, id, kind, &self.filters)
                })
                .await?;
                let stage = task.stage("Fetching group of logs", Vec::new(), Some(1));
                let packed = stage
                    .run("Packing log files together", logs::pack(&scope, &fetched))
                    .await;
                for bundle in &fetched {
                    director.blobstore.delete(&bundle.blobstore_id).await?;
                }
                packed?
            }
        };
        db::misc::add_log_bundle(&director.db, &blob_id).await?;
        Ok(blob_id)
    }
}
