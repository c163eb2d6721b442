//! Deletes a deployment.

use bosh_director_api::Code;
use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::db::events::NewEvent;
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::deploy::steps::{delete_instance, stop};
use crate::deploy::{dns, networks, parallel, subjects};
use crate::tasks::{Context, Error, Stage};

/// Deletes a deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeleteDeployment {
    /// The deployment's name.
    pub deployment: String,
    /// Go on when something cannot be deleted.
    #[serde(default)]
    pub force: bool,
    /// Do not delete the disks' snapshots.
    #[serde(default)]
    pub keep_snapshots: bool,
}

impl DeleteDeployment {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let event = NewEvent {
            action: "delete".into(),
            object_type: "deployment".into(),
            object_name: Some(self.deployment.clone()),
            deployment: Some(self.deployment.clone()),
            ..NewEvent::default()
        };
        let work = async {
            let lock = task.lock_deployment(&self.deployment).await?;
            let done = self.delete(director, task).await;
            lock.release().await;
            done
        };
        task.recorded(event, work).await?;
        Ok(format!("/deployments/{}", self.deployment))
    }

    async fn delete(&self, director: &Director, task: &Context) -> Result<(), Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let rows = Rows::of(&scope).await?;
        if rows
            .instances
            .iter()
            .any(db::instances::Instance::is_ignored)
        {
            let message = format!(
                "You are trying to delete deployment '{}', which contains ignored instance(s). \
                 Operation not allowed.",
                self.deployment
            );
            return Err(Error::new(
                Code::DeploymentIgnoredInstancesDeletion,
                message,
            ));
        }
        let all: Vec<_> = rows.instances.iter().chain(&rows.compilation).collect();
        let stage = task.stage("Deleting instances", Vec::new(), Some(all.len()));
        parallel::each(scope.max_threads(), all, |row| {
            let (scope, rows, stage) = (&scope, &rows, &stage);
            async move {
                let mut subject = subjects::of_row(row, rows, false, false);
                let name = subject.display();
                let intent = stop::Intent::DeleteDeployment;
                stage
                    .run(
                        name,
                        delete_instance::run(scope, &mut subject, intent, self.force),
                    )
                    .await
            }
        })
        .await?;
        let id = scope.deployment.id;
        let stage = task.stage("Removing deployment artifacts", Vec::new(), Some(3));
        stage
            .run("Detaching stemcells", async {
                Ok::<_, Error>(db::deployments::set_stemcells(&director.db, id, &[]).await?)
            })
            .await?;
        stage
            .run("Detaching releases", async {
                Ok::<_, Error>(db::deployments::set_release_versions(&director.db, id, &[]).await?)
            })
            .await?;
        let properties = db::properties::list(&director.db, id).await?;
        let stage = task.stage("Deleting properties", Vec::new(), Some(properties.len()));
        for property in properties {
            stage
                .run(property.name.clone(), async {
                    db::properties::delete(&director.db, id, &property.name).await?;
                    Ok::<_, Error>(())
                })
                .await?;
        }
        stage
            .run(
                "Deleting dynamic disks",
                self.delete_dynamic_disks(&scope, &stage),
            )
            .await?;
        networks::leave_all(&scope).await?;
        stage
            .run("Destroying deployment", async {
                let tx = director.db.begin().await?;
                db::deployments::delete(&tx, id).await?;
                Ok::<_, Error>(tx.commit().await?)
            })
            .await?;
        dns::publish(&scope).await
    }

    /// Deletes the disks that were made apart from any deploy. Upstream: disk_deleter.rb.
    async fn delete_dynamic_disks(&self, scope: &Scope, stage: &Stage) -> Result<(), Error> {
        for disk in db::dynamic_disks::by_deployment(scope.db(), scope.deployment.id).await? {
            let (name, cid) = (&disk.name, &disk.disk_cid);
            let cpi = scope.cpi(disk.cpi.as_deref().unwrap_or_default(), None)?;
            let delete = async {
                if cpi.has_disk(cid, scope.log()).await? {
                    cpi.delete_disk(cid, scope.log()).await?;
                }
                Ok::<_, Error>(())
            };
            let event = scope.event("delete", "disk", Some(name.clone()));
            let work = async {
                match delete.await {
                    Err(error) if self.force && !error.is_cancelled() => {
                        scope.task.debug(format!("force deleting: {error}"));
                    }
                    other => other?,
                }
                db::dynamic_disks::delete(scope.db(), disk.id).await?;
                Ok::<_, Error>(())
            };
            let work = scope.task.recorded(event, work);
            stage.run(format!("{name}/{cid}"), work).await?;
        }
        Ok(())
    }
}
