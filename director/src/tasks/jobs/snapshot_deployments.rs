//! By the clock: a task of its own for the snapshots of each deployment.

use serde::{Deserialize, Serialize};

use super::snapshot_deployment::SnapshotDeployment;
use crate::app::Director;
use crate::db;
use crate::tasks::{Context, Error, NewTask, Work};

/// Enqueues snapshots of every deployment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SnapshotDeployments {}

impl SnapshotDeployments {
    /// Runs the task.
    pub async fn run(self, director: &Director, _task: &Context) -> Result<String, Error> {
        let mut tasks = Vec::new();
        for deployment in db::deployments::names(&director.db).await? {
            let new = NewTask {
                work: Work::SnapshotDeployment(SnapshotDeployment {
                    deployment: deployment.clone(),
                }),
                username: "scheduler".to_owned(),
                deployment: Some(deployment),
                description: "snapshot deployment".to_owned(),
                context_id: String::new(),
            };
            tasks.push(director.tasks.enqueue(new).await?.id.to_string());
        }
        Ok(format!("Enqueued snapshot tasks [{}]", tasks.join(", ")))
    }
}
