//! Takes snapshots of the disks of one instance.

use bosh_director_api::Code;
use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::InstanceId;
use crate::deploy::load::{self, Rows};
use crate::deploy::scope::Scope;
use crate::deploy::steps::snapshot;
use crate::deploy::subjects;
use crate::tasks::{Context, Error};

/// Takes snapshots of the disks of one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateSnapshot {
    /// The deployment's name.
    pub deployment: String,
    /// Whose disks.
    pub instance: InstanceId,
}

impl CreateSnapshot {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let rows = Rows::of(&scope).await?;
        let found = rows.instances.iter().find(|row| row.id == self.instance);
        let Some(row) = found else {
            let message = format!("Instance {} doesn't exist", self.instance);
            return Err(Error::new(Code::InstanceNotFound, message));
        };
        let mut subject = subjects::of_row(row, &rows, true, false);
        subject.tags = load::deployed_tags(&scope).await?;
        task.debug(format!("taking snapshot of: {}", subject.display()));
        // The agent cannot be told to flush and wait, so no snapshot of a running instance is clean.
        let cids = snapshot::take(&scope, &subject, false).await?;
        Ok(format!("snapshot(s) {} created", cids.join(", ")))
    }
}
