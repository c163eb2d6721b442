//! Takes snapshots of all disks of a deployment.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::Director;
use crate::deploy::load::{self, Rows};
use crate::deploy::scope::Scope;
use crate::deploy::steps::snapshot;
use crate::deploy::subject::Subject;
use crate::deploy::subjects;
use crate::tasks::{Context, Error};

/// How bad a failed snapshot is for the health monitor.
const SEVERITY: u8 = 3;

/// Takes snapshots of all disks of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotDeployment {
    /// The deployment's name.
    pub deployment: String,
}

impl SnapshotDeployment {
    /// Runs the task. An instance whose snapshot fails is counted and reported; the others go on.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let rows = Rows::of(&scope).await?;
        let tags = load::deployed_tags(&scope).await?;
        let mut failures = 0;
        for row in &rows.instances {
            task.checkpoint()?;
            if rows.active_vm(row.id).is_none() {
                task.debug("No vm attached to this instance, no snapshot; skipping");
                continue;
            }
            let mut subject = subjects::of_row(row, &rows, true, false);
            subject.tags = tags.clone();
            match snapshot::take(&scope, &subject, false).await {
                Ok(_) => {}
                Err(error) if error.is_cancelled() => return Err(error),
                Err(error) => {
                    failures += 1;
                    report(director, task, &subject, &error).await;
                }
            }
        }
        let done = format!("snapshots of deployment '{}' created", self.deployment);
        Ok(match failures {
            0 => done,
            _ => format!("{done}, with {failures} failure(s)"),
        })
    }
}

/// Tells the health monitor (upstream: jobs/snapshot_deployment.rb).
async fn report(director: &Director, task: &Context, subject: &Subject, error: &Error) {
    let which = format!("{}/{}", subject.group, subject.index);
    task.debug(format!("failed to take snapshot of {which}: {error}"));
    let alert = json!({
        "id": "director",
        "severity": SEVERITY,
        "title": "director - snapshot failure",
        "summary": format!("failed to snapshot {which}: {error}"),
        "created_at": time::OffsetDateTime::now_utc().unix_timestamp(),
    });
    if let Err(error) = director.agents.alert_health_monitor(&alert).await {
        task.debug(format!("health monitor not told: {error}"));
    }
}
