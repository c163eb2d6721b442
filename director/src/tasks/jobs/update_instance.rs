//! Starts, stops, restarts or recreates one instance.

use bosh_director_api::Code;
use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db;
use crate::db::InstanceId;
use crate::db::instances::{Changes, Instance};
use crate::deploy::blueprint::Blueprint;
use crate::deploy::load::{self, Rows};
use crate::deploy::scope::Scope;
use crate::deploy::steps::{
    apply, delete_vm, disks, dns as names, snapshot, stop, templates, update_instance,
};
use crate::deploy::subject::Subject;
use crate::deploy::{dns, subjects};
use crate::manifest::State;
use crate::tasks::{Context, Error, Stage};

/// What to do with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Have its jobs run.
    Start,
    /// Have its jobs stopped.
    Stop,
    /// Stop, then start.
    Restart,
}

/// Starts, stops, restarts or recreates one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateInstance {
    /// The deployment's name.
    pub deployment: String,
    /// Which.
    pub instance: InstanceId,
    /// What to do with it.
    pub action: Action,
    /// Do not run its drain scripts.
    #[serde(default)]
    pub skip_drain: bool,
    /// Delete its VM too (`stop`), or get a new one (`restart`).
    #[serde(default)]
    pub hard: bool,
    /// Go on when its agent does not answer.
    #[serde(default)]
    pub ignore_unresponsive_agent: bool,
}

/// How bad what the health monitor is told is. Upstream: notifier.rb.
const WARNING: u8 = 4;

impl UpdateInstance {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let lock = task.lock_deployment(&self.deployment).await?;
        let done = self.change(director, task).await;
        lock.release().await;
        done
    }

    fn label(&self) -> &'static str {
        match self.action {
            Action::Stop => "stop",
            Action::Start => "start",
            Action::Restart if self.hard => "recreate",
            Action::Restart => "restart",
        }
    }

    async fn change(&self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let found = db::instances::get(&director.db, self.instance).await?;
        let Some(row) = found.filter(|row| row.deployment_id == scope.deployment.id) else {
            return Err(Error::new(
                Code::InstanceNotFound,
                format!("Instance {} doesn't exist", self.instance),
            ));
        };
        let label = self.label();
        if row.lifecycle().as_deref() == Some("errand") {
            let message = format!(
                "Isolated {label} can not be run on instances of type errand. Try the bosh run-errand command."
            );
            return Err(Error::new(
                Code::InstanceGroupInvalidLifecycleError,
                message,
            ));
        }
        if row.is_ignored() {
            let message = format!(
                "You are trying to change the state of the ignored instance '{}'. \
                 This operation is not allowed. You need to unignore it first.",
                row.name()
            );
            return Err(Error::new(
                Code::DeploymentIgnoredInstancesModification,
                message,
            ));
        }
        let stage = task.stage(
            &format!("Updating instance {}", row.label()),
            Vec::new(),
            None,
        );
        let (name, uuid) = (row.name(), &director.uuid);
        let summary =
            format!("Finish action '{label}' for instance '{name}' against Director '{uuid}'");
        let title = format!("director - begin '{label}' instance '{name}'");
        scope.notify(WARNING, &title, summary.clone()).await;
        let done = self.act(&scope, &row, &stage).await;
        let title = format!("director - finish '{label}' instance '{name}'");
        scope.notify(WARNING, &title, summary).await;
        done?;
        Ok(name)
    }

    async fn act(&self, scope: &Scope, row: &Instance, stage: &Stage) -> Result<(), Error> {
        match self.action {
            Action::Stop => self.stop(scope, row, stage).await,
            Action::Start => self.start(scope, row, stage).await,
            Action::Restart => {
                let name = row.name();
                let event =
                    scope.instance_event(self.label(), "instance", Some(name.clone()), &name);
                let work = async {
                    self.stop(scope, row, stage).await?;
                    self.start(scope, row, stage).await
                };
                scope.task.recorded(event, work).await
            }
        }
    }

    /// What its agent says; `unresponsive` only if that is to be taken as it comes.
    async fn agent_says(
        &self,
        scope: &Scope,
        row: &Instance,
        tolerant: bool,
    ) -> Result<Option<String>, Error> {
        let Some(vm) = db::vms::active(scope.db(), row.id).await? else {
            return Ok(None);
        };
        Ok(Some(
            load::agent_state(scope, row, &vm, tolerant)
                .await?
                .job_state,
        ))
    }

    async fn stop(&self, scope: &Scope, row: &Instance, stage: &Stage) -> Result<(), Error> {
        if row.state == "detached" || (row.state == "stopped" && !self.hard) {
            return Ok(());
        }
        let says = self
            .agent_says(scope, row, self.ignore_unresponsive_agent)
            .await?;
        let rows = Rows::of(scope).await?;
        let unresponsive = says.as_deref() == Some("unresponsive");
        let mut subject = subjects::of_row(row, &rows, self.skip_drain, unresponsive);
        subject.tags = load::deployed_tags(scope).await?;
        stage
            .run("Stopping instance", self.take_down(scope, &mut subject))
            .await?;
        if self.hard {
            stage
                .run("Deleting VM", detach(scope, &mut subject))
                .await?;
        }
        Ok(())
    }

    async fn take_down(&self, scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
        scope.task.checkpoint()?;
        let (intent, target) = if self.hard {
            (stop::Intent::DeleteVm, State::Detached)
        } else {
            (stop::Intent::KeepVm, State::Stopped)
        };
        let name = subject.name();
        let event = scope.instance_event("stop", "instance", Some(name.clone()), &name);
        let work = async {
            stop::run(scope, subject, intent, target, None).await?;
            snapshot::take(scope, subject, true).await?;
            state(scope, subject, "stopped").await
        };
        scope.task.recorded(event, work).await
    }

    async fn start(&self, scope: &Scope, row: &Instance, stage: &Stage) -> Result<(), Error> {
        let says = self.agent_says(scope, row, false).await?;
        let blueprint = Blueprint::new(scope).await?;
        let mut subject = blueprint.subject(scope, row).await?;
        subject.state = State::Started;
        let mut running = says.as_deref() == Some("running");
        if subject.vm.is_none() {
            running = false;
            stage
                .run("Creating VM", create(scope, &blueprint, &mut subject))
                .await?;
        }
        if running {
            return Ok(());
        }
        let name = subject.name();
        let event = scope.instance_event("start", "instance", Some(name.clone()), &name);
        let mut step = stage.start("Starting instance");
        let started = scope
            .task
            .recorded(event, async {
                scope.task.checkpoint()?;
                state(scope, &subject, "started").await?;
                completed(scope, &subject, false).await?;
                templates::persist(scope, &mut subject).await?;
                apply::run(scope, &mut subject, false, true, &mut step).await?;
                completed(scope, &subject, true).await
            })
            .await;
        match &started {
            Ok(()) => step.finish(),
            Err(error) => step.fail(&error.to_string()),
        }
        started
    }
}

async fn detach(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    scope.task.checkpoint()?;
    disks::detach_all_if_reachable(scope, subject).await?;
    delete_vm::all(scope, subject, false).await?;
    state(scope, subject, "detached").await
}

async fn create(scope: &Scope, blueprint: &Blueprint, subject: &mut Subject) -> Result<(), Error> {
    scope.task.checkpoint()?;
    update_instance::make_vm(scope, blueprint.renderer(), subject).await?;
    if names::write(scope, &[subject]).await? {
        dns::publish_to(scope, subject).await?;
    }
    Ok(())
}

async fn state(scope: &Scope, subject: &Subject, word: &str) -> Result<(), Error> {
    let changes = Changes {
        state: Some(word.to_owned()),
        ..Changes::default()
    };
    Ok(db::instances::update(scope.db(), subject.id, changes).await?)
}

async fn completed(scope: &Scope, subject: &Subject, completed: bool) -> Result<(), Error> {
    let changes = Changes {
        update_completed: Some(completed),
        ..Changes::default()
    };
    Ok(db::instances::update(scope.db(), subject.id, changes).await?)
}
