//! Deletes a VM by the cloud's id.

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::db::events::NewEvent;
use crate::deploy::scope::Scope;
use crate::deploy::steps;
use crate::tasks::{Context, Error};

/// Deletes a VM by the cloud's id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteVm {
    /// The cloud's id.
    pub cid: String,
}

/// What upstream assumes of the stemcell of a VM that nobody knows.
const UNKNOWN_STEMCELL: u32 = 2;

impl DeleteVm {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let stage = task.stage("Delete VM", Vec::new(), Some(1));
        stage
            .run(self.cid.clone(), self.delete(director, task))
            .await?;
        Ok(format!("vm {} deleted", self.cid))
    }

    async fn delete(&self, director: &Director, task: &Context) -> Result<(), Error> {
        let vm = db::vms::find_by_cid(&director.db, &self.cid).await?;
        let mut event = NewEvent {
            action: "delete".into(),
            object_type: "vm".into(),
            object_name: Some(self.cid.clone()),
            ..NewEvent::default()
        };
        let Some(vm) = vm else {
            return task
                .recorded(event, self.delete_unknown(director, task))
                .await;
        };
        let Some(instance) = db::instances::get(&director.db, vm.instance_id).await? else {
            return Err(Error::other(format!(
                "VM '{}' belongs to no instance",
                self.cid
            )));
        };
        let Some(deployment) = db::deployments::get(&director.db, instance.deployment_id).await?
        else {
            return Err(Error::other(format!(
                "instance '{}' belongs to no deployment",
                instance.name()
            )));
        };
        let scope = Scope::new(director, task, deployment).await?;
        let name = instance.name();
        event.deployment = Some(scope.name().to_owned());
        event.instance = Some(name.clone());
        task.recorded(
            event,
            steps::delete_vm::run(&scope, &name, &vm, false, false),
        )
        .await
    }

    async fn delete_unknown(&self, director: &Director, task: &Context) -> Result<(), Error> {
        let cpi = director.cpis().await?.get("", Some(UNKNOWN_STEMCELL))?;
        match cpi.delete_vm(&self.cid, task).await {
            Err(error) if error.is_vm_not_found() => {
                task.warn(&format!(
                    "VM {} does not exist. Deletion is skipped",
                    self.cid
                ));
                Ok(())
            }
            other => Ok(other?),
        }
    }
}
