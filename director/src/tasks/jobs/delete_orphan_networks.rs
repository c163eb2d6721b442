//! Deletes managed networks that no deployment uses.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::deploy::{networks, parallel};
use crate::tasks::{Context, Error};

/// Deletes managed networks that no deployment uses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteOrphanNetworks {
    /// Their names.
    pub networks: Vec<String>,
}

impl DeleteOrphanNetworks {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        delete(director, task, &self.networks).await?;
        Ok(format!(
            "orphaned network(s) {} deleted",
            self.networks.join(", ")
        ))
    }
}

/// Deletes networks, several at once.
pub(super) async fn delete(
    director: &Director,
    task: &Context,
    names: &[String],
) -> Result<(), Error> {
    let stage = task.stage("Deleting orphaned networks", Vec::new(), Some(names.len()));
    parallel::each(director.config.max_threads, names, |name| {
        let stage = &stage;
        async move {
            let work = async {
                let lock = networks::lock(task, name).await?;
                let done = networks::delete(director, task, name).await;
                lock.release().await;
                done
            };
            stage
                .run(format!("Deleting orphaned network {name}"), work)
                .await
        }
    })
    .await?;
    Ok(())
}
