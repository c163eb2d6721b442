//! Looks at some instances and repairs them, for the health monitor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scan::lock_now;
use crate::app::Director;
use crate::db;
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::problems::{self, Kind, Resolutions};
use crate::tasks::{Context, Error};

/// Looks at some instances and repairs them, for the health monitor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScanAndFix {
    /// The deployment's name.
    pub deployment: String,
    /// Instance group, and index or uuid.
    pub instances: Vec<(String, String)>,
    /// Also those with a persistent disk.
    #[serde(default)]
    pub fix_stateful: bool,
}

impl ScanAndFix {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let lock = lock_now(task, &self.deployment).await?;
        let done = self.repair(&scope).await;
        lock.release().await;
        done?;
        Ok("scan and fix complete".to_owned())
    }

    async fn repair(&self, scope: &Scope) -> Result<(), Error> {
        let rows = Rows::of(scope).await?;
        let mut wanted = Vec::new();
        for instance in problems::find(scope, &rows, Some(&self.instances))? {
            let stateful = rows
                .disks(instance.id)
                .iter()
                .any(db::disks::Disk::is_active);
            if self.fix_stateful || !stateful {
                wanted.push((instance.job.clone(), instance.uuid().to_owned()));
            }
        }
        let resources: Vec<i32> = problems::find(scope, &rows, Some(&wanted))?
            .into_iter()
            .filter(|instance| !instance.is_ignored())
            .map(|instance| instance.id.0)
            .collect();
        for problem in db::problems::open(scope.db(), scope.deployment.id).await? {
            if resources.contains(&problem.resource_id) {
                db::problems::set_state(scope.db(), problem.id, "closed").await?;
            }
        }
        problems::scan_vms(scope, &rows, Some(&wanted)).await?;
        let mut resolutions = Resolutions::new();
        for problem in db::problems::open(scope.db(), scope.deployment.id).await? {
            let of_vm = matches!(
                Kind::parse(&problem.kind),
                Some(Kind::UnresponsiveAgent | Kind::MissingVm)
            );
            if of_vm && resources.contains(&problem.resource_id) {
                resolutions.insert(problem.id.to_string(), Some("recreate_vm".to_owned()));
            }
        }
        let (solved, complaints) = problems::apply(scope, &resolutions, &BTreeMap::new()).await?;
        if solved > 0 {
            problems::post_deploy(scope).await?;
        }
        if complaints.is_empty() {
            Ok(())
        } else {
            Err(Error::other(complaints.join("\n")))
        }
    }
}
