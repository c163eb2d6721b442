//! Runs an errand.

use std::collections::{BTreeMap, BTreeSet};

use bosh_director_api::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Director;
use crate::compile;
use crate::db;
use crate::db::InstanceId;
use crate::db::events::NewEvent;
use crate::db::instances::Instance;
use crate::db::vms::Vm;
use crate::deploy::errand::{Choice, Outcome, choose, line, matching, summary};
use crate::deploy::execute::Execution;
use crate::deploy::load::Rows;
use crate::deploy::plan::Plan;
use crate::deploy::prepare::{Ask, Prepared, Request, prepare, wanted};
use crate::deploy::scope::{Scope, sha1};
use crate::deploy::steps::{delete_vm, disks};
use crate::deploy::{dns, finish, logs, parallel, subjects};
use crate::manifest::{Options, resolved::Lifecycle};
use crate::tasks::{Context, Error};

/// Instances that an errand should run on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceFilter {
    /// The instance group.
    pub group: String,
    /// The index or uuid; all of the group if absent.
    #[serde(default)]
    pub id: Option<String>,
}

/// Runs an errand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunErrand {
    /// The deployment's name.
    pub deployment: String,
    /// The errand: an instance group or a job.
    pub errand: String,
    /// Keep the VM that was made for it.
    #[serde(default)]
    pub keep_alive: bool,
    /// Only if something changed since it last succeeded.
    #[serde(default)]
    pub when_changed: bool,
    /// Only on these instances; empty for all.
    #[serde(default)]
    pub instances: Vec<InstanceFilter>,
}

impl RunErrand {
    /// Runs the task; each outcome is a line of the task's result.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let lock = task.lock_deployment(&self.deployment).await?;
        let done = self.locked(director, task).await;
        lock.release().await;
        done
    }

    async fn locked(&self, director: &Director, task: &Context) -> Result<String, Error> {
        let scope = Scope::of(director, task, &self.deployment).await?;
        let stage = task.stage("Preparing deployment", Vec::new(), Some(1));
        let rows = Rows::of(&scope).await?;
        let filters: Vec<(String, Option<String>)> = self
            .instances
            .iter()
            .map(|filter| (filter.group.clone(), filter.id.clone()))
            .collect();
        let (chosen, unmatched) = matching(&rows.instances, &filters);
        self.check_stopped(&scope, &chosen)?;
        let prepared = self.prepare(&scope, &rows, &chosen);
        let (choice, runs) = stage.run("Preparing deployment", prepared).await?;
        if choice.ambiguous {
            task.warn(&format!(
                "Ambiguous request: the requested errand name '{0}' matches both a job name and an errand instance \
                 group name. Executing errand on all relevant instances with job '{0}'.",
                self.errand
            ));
        }
        if !unmatched.is_empty() {
            let filters: Vec<String> = unmatched
                .iter()
                .map(|(group, id)| match id {
                    Some(id) => format!("{{\"group\"=>\"{group}\", \"id\"=>\"{id}\"}}"),
                    None => format!("{{\"group\"=>\"{group}\"}}"),
                })
                .collect();
            let message = format!(
                "No instances match selection criteria: [{}]",
                filters.join(", ")
            );
            return Err(Error::other(message));
        }
        let hash = runs_hash(&runs);
        let last = db::misc::errand_runs(scope.db(), scope.deployment.id, &self.errand).await?;
        if self.when_changed && last.as_deref() == Some(hash.as_str()) {
            return Ok("skipped - no changes detected".to_owned());
        }
        db::misc::set_errand_run(scope.db(), scope.deployment.id, &self.errand, None).await?;
        let outcomes = parallel::each(scope.max_threads(), runs, |run| {
            let (scope, choice) = (&scope, &choice);
            async move {
                match run {
                    Run::Service(targets) => self.on_services(scope, targets, choice.by_job).await,
                    Run::Errand(own) => self.on_own_vm(scope, *own, choice.by_job).await,
                }
            }
        })
        .await?;
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        if outcomes.iter().all(|outcome| outcome.exit_code == 0) {
            db::misc::set_errand_run(scope.db(), scope.deployment.id, &self.errand, Some(&hash))
                .await?;
        }
        Ok(summary(&outcomes))
    }

    /// Nobody knows why an operator stopped an instance, so an errand does not run there.
    fn check_stopped(&self, scope: &Scope, chosen: &[&Instance]) -> Result<(), Error> {
        if scope.director.config.allow_errands_on_stopped_instances {
            return Ok(());
        }
        let stopped: Vec<String> = chosen
            .iter()
            .filter(|instance| instance.state == "stopped")
            .map(|instance| format!("'{}'", instance.name()))
            .collect();
        if stopped.is_empty() {
            return Ok(());
        }
        let message = format!(
            "Instance(s) {} is stopped, unable to run errand. Maybe start vm?",
            stopped.join(",")
        );
        Err(Error::new(Code::RunErrandError, message))
    }

    async fn prepare(
        &self,
        scope: &Scope,
        rows: &Rows,
        chosen: &[&Instance],
    ) -> Result<(Choice, Vec<Run>), Error> {
        let nobody = || Ask::Only(BTreeSet::new());
        let request = Request::deployed(scope, Options::default(), nobody()).await?;
        let desired = wanted(scope, &request).await?;
        let choice = choose(&desired, &self.errand, !self.instances.is_empty())?;
        let mut runs = Vec::new();
        let mut services = Vec::new();
        for (group, lifecycle) in &choice.groups {
            let own: Vec<&Instance> = chosen
                .iter()
                .copied()
                .filter(|instance| instance.job == *group)
                .collect();
            if own.len() > 1 {
                scope.task.warn(
                    "Executing errand on multiple instances in parallel. \
                     Use the `--instance` flag to run the errand on a single instance.",
                );
            }
            if *lifecycle == Lifecycle::Service {
                for instance in own {
                    match rows.active_vm(instance.id) {
                        Some(vm) => services.push((instance.clone(), vm.clone())),
                        None => scope.task.warn(&format!(
                            "Skipping instance: {} no matching VM reference was found",
                            instance.label()
                        )),
                    }
                }
                continue;
            }
            let ids: BTreeSet<InstanceId> = rows
                .instances
                .iter()
                .filter(|row| row.job == *group)
                .map(|row| row.id)
                .collect();
            let options = Options {
                start_errand: Some(group.clone()),
                ..Options::default()
            };
            let request = Request::deployed(scope, options, Ask::Only(ids)).await?;
            let mut prepared = prepare(scope, request).await?;
            prepared.render_group(scope, group).await?;
            let properties = prepared.compilation_properties(scope).await?;
            finish::begin(scope, &prepared).await?;
            let (values, set) = (&prepared.values, prepared.variable_set);
            let compiled = compile::run(scope, &prepared.desired, values, set, properties).await?;
            let plan = prepared.plan(&compiled, &BTreeSet::new());
            let first = prepared
                .placement
                .group(group)
                .and_then(|group| group.instances.first());
            let first = first.map(|instance| instance.uuid.clone());
            let known = rows
                .instances
                .iter()
                .any(|row| Some(row.uuid()) == first.as_deref());
            let included = own.iter().any(|row| Some(row.uuid()) == first.as_deref());
            if included || (!known && self.instances.is_empty()) {
                runs.push(Run::Errand(Box::new(Own {
                    group: group.clone(),
                    prepared,
                    plan,
                })));
            }
        }
        if !services.is_empty() {
            runs.push(Run::Service(services));
        }
        Ok((choice, runs))
    }

    async fn on_services(
        &self,
        scope: &Scope,
        targets: Vec<(Instance, Vm)>,
        by_job: bool,
    ) -> Result<Vec<Outcome>, Error> {
        parallel::each(scope.max_threads(), targets, |(instance, vm)| async move {
            self.on_instance(scope, &instance, &vm, by_job).await
        })
        .await
    }

    /// Runs it on a VM that is made for it, and deleted afterwards unless it is to be kept.
    async fn on_own_vm(
        &self,
        scope: &Scope,
        own: Own,
        by_job: bool,
    ) -> Result<Vec<Outcome>, Error> {
        let Own {
            group,
            prepared,
            plan,
        } = own;
        let subjects = subjects::of_plan(&prepared, &plan);
        let execution = Execution::new(
            scope,
            &prepared.renderer,
            &plan,
            Vec::new(),
            subjects.groups,
        )
        .only(&group);
        let done = self.made_and_run(scope, &execution, &group, by_job).await;
        let cleaned = if self.keep_alive {
            scope.task.debug("Skipping vms deletion, keep-alive is set");
            Ok(())
        } else {
            clean_up(&scope.uncancellable(), &execution, &group).await
        };
        match (done, cleaned) {
            (Err(error), Err(second)) => {
                scope.task.debug(format!("Failed to delete vms: {second}"));
                Err(error)
            }
            (Err(error), Ok(())) | (Ok(_), Err(error)) => Err(error),
            (Ok(outcome), Ok(())) => Ok(vec![outcome]),
        }
    }

    async fn made_and_run(
        &self,
        scope: &Scope,
        execution: &Execution<'_>,
        group: &str,
        by_job: bool,
    ) -> Result<Outcome, Error> {
        execution.create_missing_vms().await?;
        let Some(own) = execution.groups().iter().find(|own| own.plan.name == group) else {
            return Err(Error::new(
                Code::JobNotFound,
                format!("Errand '{}' doesn't exist", self.errand),
            ));
        };
        execution.update_group(own).await?;
        let Some(first) = own.instances.first() else {
            let message = format!("Instance '{}/{group}/0' doesn't exist", self.deployment);
            return Err(Error::new(Code::InstanceNotFound, message));
        };
        let (id, vm) = {
            let subject = first.lock().await;
            (subject.id, subject.vm()?.clone())
        };
        let Some(instance) = db::instances::get(scope.db(), id).await? else {
            return Err(Error::other(format!("instance {id} is gone")));
        };
        self.on_instance(scope, &instance, &vm, by_job).await
    }

    async fn on_instance(
        &self,
        scope: &Scope,
        instance: &Instance,
        vm: &Vm,
        by_job: bool,
    ) -> Result<Outcome, Error> {
        let event = scope.instance_event(
            "run",
            "errand",
            Some(self.errand.clone()),
            &instance.label(),
        );
        let parent_id = scope.task.event(event.clone()).await?;
        let done = self.executed(scope, instance, vm, by_job).await;
        let context = done
            .as_ref()
            .ok()
            .map(|outcome| json!({"exit_code": outcome.exit_code}));
        let error = done.as_ref().err().map(ToString::to_string);
        scope
            .task
            .event(NewEvent {
                parent_id,
                context,
                error,
                ..event
            })
            .await?;
        done
    }

    async fn executed(
        &self,
        scope: &Scope,
        instance: &Instance,
        vm: &Vm,
        by_job: bool,
    ) -> Result<Outcome, Error> {
        let agent = scope.agent(vm, &instance.name())?;
        if by_job && agent.info().await? < 1 {
            let first = instance.spec()["job"]["template"]
                .as_str()
                .map(str::to_owned);
            if first.as_deref() != Some(self.errand.as_str()) {
                let message = format!(
                    "Multiple jobs are configured on an older stemcell, and \"{}\" is not the first job",
                    self.errand
                );
                return Err(Error::other(message));
            }
        }
        let stage = scope.task.stage("Running errand", Vec::new(), Some(1));
        let run = agent.run_errand(by_job.then_some(self.errand.as_str()));
        let (result, cancelled) = stage.run(instance.label(), run).await?;
        logs::remove_old(scope).await?;
        let scope = &scope.uncancellable();
        let fetched = logs::fetch(scope, instance.id, "job", &[]).await;
        let bundle = fetched
            .as_ref()
            .ok()
            .map(|bundle| (bundle.blobstore_id.as_str(), bundle.sha1.as_str()));
        scope.task.result_line(&line(
            &instance.job,
            instance.uuid(),
            &self.errand,
            &result,
            bundle,
        ))?;
        if let Some((blob_id, _)) = bundle {
            db::misc::add_log_bundle(scope.db(), blob_id).await?;
        }
        if cancelled {
            scope.task.checkpoint()?;
        }
        fetched?;
        Ok(Outcome {
            exit_code: result.exit_code,
        })
    }
}

/// Where an errand runs.
enum Run {
    /// On instances that are there anyway.
    Service(Vec<(Instance, Vm)>),
    /// On a VM of its own.
    Errand(Box<Own>),
}

/// An instance group that is an errand.
struct Own {
    group: String,
    prepared: Prepared,
    plan: Plan,
}

/// Changes with whatever the errand would run with.
fn runs_hash(runs: &[Run]) -> String {
    let mut parts = BTreeMap::new();
    for run in runs {
        match run {
            Run::Service(targets) => {
                for (instance, _) in targets {
                    let spec = instance.spec();
                    parts.insert(instance.uuid().to_owned(), of_spec(&spec));
                }
            }
            Run::Errand(own) => {
                let group = own.plan.groups.iter().find(|group| group.name == own.group);
                for plan in group.into_iter().flat_map(|group| group.instances.first()) {
                    let spec = Value::Object(plan.spec.0.clone());
                    parts.insert(plan.placed.uuid.clone(), of_spec(&spec));
                }
            }
        }
    }
    sha1(json!(parts).to_string().as_bytes())
}

fn of_spec(spec: &Value) -> Value {
    json!([spec["configuration_hash"], spec["packages"]])
}

/// Deletes the errand's VMs; what is left of it is an instance without a VM.
async fn clean_up(scope: &Scope, execution: &Execution<'_>, group: &str) -> Result<(), Error> {
    for own in execution
        .groups()
        .iter()
        .filter(|own| own.plan.name == group)
    {
        for instance in &own.instances {
            let mut subject = instance.lock().await;
            if subject.vm.is_none() {
                continue;
            }
            disks::detach_all(scope, &subject).await?;
            delete_vm::all(scope, &mut subject, false).await?;
            let tx = scope.db().begin().await?;
            db::dns::delete_records(&tx, subject.id).await?;
            db::instances::set_templates(&tx, subject.id, &[]).await?;
            tx.commit().await?;
        }
    }
    dns::publish(scope).await
}
