//! Executes a plan: what goes, goes; VMs come; groups are updated in order, canaries first.
//!
//! Every step of it may be repeated, and what happened is in the database as soon as it happened: a deploy that ends
//! anywhere, by failure or by `kill -9`, is finished by the next one. Upstream: deployment_plan/stages/,
//! instance_group_updater.rb, deployment_plan/multi_instance_group_updater.rb.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::plan::decision::{Action, GroupPlan, Plan, Round};
use super::render::Renderer;
use super::scope::Scope;
use super::steps::{delete_instance, dns, orphan_vm, prepare, stop, update_instance};
use super::subject::Subject;
use super::{Error, parallel};
use crate::db;
use crate::db::instances::Changes;
use crate::manifest::State;
use crate::manifest::resolved::Lifecycle;
use crate::tasks::Stage;

/// A plan with the instances it is about.
pub struct Execution<'a> {
    scope: &'a Scope,
    renderer: &'a Renderer,
    plan: &'a Plan,
    /// As [`Plan::deletions`].
    deletions: Vec<Mutex<Subject>>,
    groups: Vec<Group<'a>>,
    /// Only this group, for an errand.
    only: Option<&'a str>,
}

/// The instances of a group.
pub struct Group<'a> {
    /// What has to happen to it.
    pub plan: &'a GroupPlan,
    /// As [`GroupPlan::instances`].
    pub instances: Vec<Mutex<Subject>>,
    /// As [`GroupPlan::deletions`].
    pub deletions: Vec<Mutex<Subject>>,
}

impl<'a> Execution<'a> {
    /// Takes hold of the instances; `deletions` and `groups` go with those of the plan.
    pub fn new(
        scope: &'a Scope,
        renderer: &'a Renderer,
        plan: &'a Plan,
        deletions: Vec<Subject>,
        groups: Vec<Group<'a>>,
    ) -> Self {
        Self {
            scope,
            renderer,
            plan,
            deletions: deletions.into_iter().map(Mutex::new).collect(),
            groups,
            only: None,
        }
    }

    /// Leaves all groups but this one alone.
    pub fn only(mut self, group: &'a str) -> Self {
        self.only = Some(group);
        self
    }

    /// Groups that take part.
    fn starting(&self) -> impl Iterator<Item = &Group<'a>> {
        self.groups.iter().filter(|group| {
            group.plan.starts_on_deploy && self.only.is_none_or(|name| name == group.plan.name)
        })
    }

    /// Does all of it; whether any group changed.
    pub async fn run(&self) -> Result<bool, Error> {
        self.delete(&self.deletions, Vec::new(), self.scope.max_threads())
            .await?;
        self.create_missing_vms().await?;
        self.download_packages().await?;
        let mut changed = false;
        for batch in &self.plan.batches {
            self.scope.task.checkpoint()?;
            let updates = batch.iter().map(|&index| &self.groups[index]);
            let updated =
                parallel::each(batch.len(), updates, |group| self.update_group(group)).await?;
            changed |= updated.into_iter().any(|changed| changed);
        }
        self.settle_errands().await?;
        Ok(changed)
    }

    /// Has every running instance run its post-deploy scripts.
    pub async fn post_deploy(&self) -> Result<(), Error> {
        let mut agents = Vec::new();
        for group in &self.groups {
            for instance in &group.instances {
                let subject = instance.lock().await;
                if subject.action != Action::Ignore
                    && subject.vm.is_some()
                    && subject.was != "stopped"
                {
                    agents.push(subject.agent(self.scope)?);
                }
            }
        }
        parallel::each(self.scope.max_threads(), agents, |agent| async move {
            Ok::<_, Error>(agent.run_script("post-deploy", &Default::default()).await?)
        })
        .await?;
        Ok(())
    }

    /// Makes VMs for instances that have none, and second ones for those that will be swapped.
    pub async fn create_missing_vms(&self) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for group in self.starting() {
            for (plan, instance) in group.plan.instances.iter().zip(&group.instances) {
                let subject = instance.lock().await;
                self.orphan_unfit(plan.orphan_vms.as_slice(), subject)
                    .await?;
                let subject = instance.lock().await;
                let second = subject.swap
                    && plan.action == Action::Recreate
                    && subject.vm.is_some()
                    && subject.inactive.is_empty()
                    && !subject.unresponsive;
                if (plan.missing_vm && subject.vm.is_none()) || second {
                    wanted.push(instance);
                }
            }
        }
        if !wanted.is_empty() {
            let stage =
                self.scope
                    .task
                    .stage("Creating missing vms", Vec::new(), Some(wanted.len()));
            parallel::each(self.scope.max_threads(), wanted, |instance| {
                let stage = &stage;
                async move {
                    let mut subject = instance.lock().await;
                    let name = subject.display();
                    stage
                        .run(
                            name,
                            update_instance::make_vm(self.scope, self.renderer, &mut subject),
                        )
                        .await
                }
            })
            .await?;
        }
        self.publish_names().await?;
        self.scope.task.checkpoint()?;
        Ok(())
    }

    async fn orphan_unfit(
        &self,
        unfit: &[i64],
        mut subject: MutexGuard<'_, Subject>,
    ) -> Result<(), Error> {
        if unfit.is_empty() {
            return Ok(());
        }
        let inactive = std::mem::take(&mut subject.inactive);
        for vm in inactive {
            if unfit.contains(&i64::from(vm.id.0)) {
                orphan_vm::run(self.scope, &subject, &vm).await?;
            } else {
                subject.inactive.push(vm);
            }
        }
        Ok(())
    }

    /// Writes the names of instances with new VMs down and sends them to everyone.
    async fn publish_names(&self) -> Result<(), Error> {
        let mut fresh = Vec::new();
        for group in self.starting() {
            for instance in &group.instances {
                let subject = instance.lock().await;
                if subject.fresh && subject.vm.is_some() {
                    fresh.push(subject);
                }
            }
        }
        let subjects: Vec<&Subject> = fresh.iter().map(|subject| &**subject).collect();
        let changed = !subjects.is_empty() && dns::write(self.scope, &subjects).await?;
        drop(fresh);
        if changed {
            super::dns::publish(self.scope).await
        } else {
            Ok(())
        }
    }

    /// Fetches packages onto VMs that are to take over.
    async fn download_packages(&self) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for group in self.starting() {
            for instance in &group.instances {
                let subject = instance.lock().await;
                if subject.swap
                    && subject.action == Action::Recreate
                    && !subject.inactive.is_empty()
                {
                    wanted.push(instance);
                }
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let stage = self
            .scope
            .task
            .stage("Downloading packages", Vec::new(), Some(wanted.len()));
        parallel::each(self.scope.max_threads(), wanted, |instance| {
            let stage = &stage;
            async move {
                let subject = instance.lock().await;
                stage
                    .run(subject.display(), prepare::inactive(self.scope, &subject))
                    .await
            }
        })
        .await?;
        Ok(())
    }

    /// Updates a group; whether anything changed in it.
    pub async fn update_group(&self, group: &Group<'_>) -> Result<bool, Error> {
        let plan = group.plan;
        let at_once = plan.update.max_in_flight(group.deletions.len());
        self.delete(&group.deletions, vec![plan.name.clone()], at_once)
            .await?;
        self.settle_unchanged(group).await?;
        let rounds: Vec<&Round> = if plan.lifecycle == Lifecycle::Errand && !plan.starts_on_deploy {
            Vec::new()
        } else {
            plan.rounds.iter().collect()
        };
        let total = rounds
            .iter()
            .map(|round| round.canaries.len() + round.rest.len())
            .sum();
        if total > 0 {
            let stage =
                self.scope
                    .task
                    .stage("Updating instance", vec![plan.name.clone()], Some(total));
            for round in rounds {
                self.update(group, &round.canaries, round.max_in_flight, true, &stage)
                    .await?;
                self.update(group, &round.rest, round.max_in_flight, false, &stage)
                    .await?;
            }
        }
        Ok(total > 0 || !group.deletions.is_empty())
    }

    async fn update(
        &self,
        group: &Group<'_>,
        instances: &[usize],
        at_once: usize,
        canary: bool,
        stage: &Stage,
    ) -> Result<(), Error> {
        let instances = instances.iter().map(|&index| &group.instances[index]);
        parallel::each(at_once, instances, |instance| async move {
            self.scope.task.checkpoint()?;
            let mut subject = instance.lock().await;
            let name = if canary {
                format!("{} (canary)", subject.display())
            } else {
                subject.display()
            };
            let mut step = stage.start(name);
            let updated =
                update_instance::run(self.scope, self.renderer, &mut subject, canary, &mut step)
                    .await;
            match &updated {
                Ok(()) => step.finish(),
                Err(error) => step.fail(&error.to_string()),
            }
            updated
        })
        .await?;
        Ok(())
    }

    /// Brings the rows of instances that stay as they are up to date: what changed of their spec needs no agent.
    async fn settle_unchanged(&self, group: &Group<'_>) -> Result<(), Error> {
        let updated: BTreeSet<usize> = group
            .plan
            .rounds
            .iter()
            .flat_map(|round| round.canaries.iter().chain(&round.rest))
            .copied()
            .collect();
        let mut rows = Vec::new();
        for (index, instance) in group.instances.iter().enumerate() {
            let subject = instance.lock().await;
            if !updated.contains(&index) && subject.action == Action::None && subject.vm.is_some() {
                let changes = Changes {
                    spec: Some(Value::Object(subject.spec.0.clone())),
                    variable_set_id: Some(subject.variable_set),
                    ..Changes::default()
                };
                rows.push((subject.id, changes));
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let tx = self.scope.db().begin().await?;
        for (id, changes) in rows {
            db::instances::update(&tx, id, changes).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Instances of errands have no VM to update, but use the variables of this deploy from now on.
    async fn settle_errands(&self) -> Result<(), Error> {
        let mut rows = Vec::new();
        for group in self
            .groups
            .iter()
            .filter(|group| group.plan.lifecycle == Lifecycle::Errand)
        {
            for instance in &group.instances {
                let subject = instance.lock().await;
                if subject.action != Action::Ignore {
                    rows.push((subject.id, subject.variable_set));
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let tx = self.scope.db().begin().await?;
        for (id, variable_set) in rows {
            let changes = Changes {
                variable_set_id: Some(variable_set),
                ..Changes::default()
            };
            db::instances::update(&tx, id, changes).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn delete(
        &self,
        instances: &[Mutex<Subject>],
        tags: Vec<String>,
        at_once: usize,
    ) -> Result<(), Error> {
        if instances.is_empty() {
            return Ok(());
        }
        let stage =
            self.scope
                .task
                .stage("Deleting unneeded instances", tags, Some(instances.len()));
        parallel::each(at_once, instances, |instance| {
            let stage = &stage;
            async move {
                let mut subject = instance.lock().await;
                let name = subject.display();
                let intent = stop::Intent::DeleteInstance;
                stage
                    .run(
                        name,
                        delete_instance::run(self.scope, &mut subject, intent, false),
                    )
                    .await
            }
        })
        .await?;
        super::dns::publish(self.scope).await
    }

    /// The groups.
    pub fn groups(&self) -> &[Group<'a>] {
        &self.groups
    }
}

/// What an event calls that which is done to an instance. Upstream: update_procedure.rb, calculate_action.
pub(crate) fn verb(plan: &super::plan::InstancePlan) -> &'static str {
    use super::plan::Change;
    let only = match plan.reasons.as_slice() {
        [reason] => Some(reason.change),
        _ => None,
    };
    if matches!(only, Some(Change::State | Change::Restart)) {
        return match plan.placed.state {
            State::Started => "start",
            State::Stopped | State::Detached => "stop",
            State::Restart => "restart",
            State::Recreate => "recreate",
        };
    }
    if plan.id.is_none() {
        return "create";
    }
    if plan.action == Action::Recreate {
        "recreate"
    } else {
        "update"
    }
}
