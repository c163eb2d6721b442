//! Looks for problems of a deployment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::problems;
use crate::tasks::{Context, Error, Lock};

/// Looks for problems of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scan {
    /// The deployment's name.
    pub deployment: String,
}

impl Scan {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let lock = lock_now(task, &self.deployment).await?;
        let done = look(&scope).await;
        lock.release().await;
        done?;
        Ok("scan complete".to_owned())
    }
}

async fn look(scope: &Scope) -> Result<(), Error> {
    db::problems::close_others(scope.db(), scope.deployment.id, &[]).await?;
    let rows = Rows::of(scope).await?;
    let mounted = problems::scan_vms(scope, &rows, None).await?;
    problems::scan_disks(scope, &rows, &mounted).await
}

/// The deployment's lock, at once or not at all.
pub(super) async fn lock_now(task: &Context, deployment: &str) -> Result<Lock, Error> {
    task.lock(&format!("lock:deployment:{deployment}"), Duration::ZERO).await.map_err(|error| {
        task.debug(error.to_string());
        Error::other("Unable to get deployment lock, maybe a deployment is in progress. Try again later.")
    })
}
