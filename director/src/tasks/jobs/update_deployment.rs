//! Deploys a manifest, or changes the state of instance groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app::Director;
use crate::db::{self, ConfigId, VariableSetId};
use crate::deploy::execute::Execution;
use crate::deploy::plan::Plan;
use crate::deploy::prepare::{Ask, Prepared, Request, prepare};
use crate::deploy::scope::Scope;
use crate::deploy::{finish, networks, persist, subjects};
use crate::tasks::{Context, Error};
use crate::{compile, manifest};

/// How bad what the health monitor is told is. Upstream: notifier.rb.
const ERROR: u8 = 3;
const WARNING: u8 = 4;

/// How to deploy (upstream: deployments_controller.rb).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// A deploy, rather than a change of state.
    pub deploy: bool,
    /// The deployment did not exist before.
    pub new: bool,
    /// Only show what would be done.
    pub dry_run: bool,
    /// Recreate all VMs.
    pub recreate: bool,
    /// Only VMs made before this RFC 3339 time (with `recreate`).
    pub recreate_vms_created_before: Option<String>,
    /// Recreate all persistent disks.
    pub recreate_persistent_disks: bool,
    /// Recreate VMs whose agent does not answer, instead of failing.
    pub fix: bool,
    /// `*`, or names of instance groups separated by commas.
    pub skip_drain: Option<String>,
    /// Instead of the manifest's: a number or a percentage.
    pub canaries: Option<String>,
    /// Instead of the manifest's: a number or a percentage.
    pub max_in_flight: Option<String>,
    /// Use the newest values of variables that other deployments share.
    pub force_latest_variables: bool,
    /// The text to keep as the manifest that the user wrote, when `manifest` is not it.
    pub manifest_text: Option<String>,
    /// Instance groups whose state to change.
    pub job_states: BTreeMap<String, GroupState>,
}

/// The state that an instance group, or some instances of it, should be in:
/// `started`, `stopped`, `detached`, `restart` or `recreate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupState {
    /// Of the whole group.
    pub state: Option<String>,
    /// Of instances, by index.
    pub instance_states: BTreeMap<i32, String>,
}

/// Deploys a manifest, or changes the state of instance groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpdateDeployment {
    /// The deployment's name.
    pub deployment: String,
    /// The manifest, YAML.
    pub manifest: String,
    /// The cloud configs to deploy with.
    pub cloud_config_ids: Vec<ConfigId>,
    /// The runtime configs to deploy with.
    pub runtime_config_ids: Vec<ConfigId>,
    /// How.
    pub options: Options,
}

impl UpdateDeployment {
    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let lock = task.lock_deployment(&self.deployment).await?;
        let deployment = db::deployments::find_or_create(&director.db, &self.deployment).await?;
        let scope = Scope::new(director, task, deployment).await?;
        let done = self.recorded(&scope).await;
        lock.release().await;
        done?;
        Ok(format!("/deployments/{}", self.deployment))
    }

    /// The deploy with events around it, and word to the health monitor.
    async fn recorded(&self, scope: &Scope) -> Result<(), Error> {
        let before = used(scope).await?;
        let action = if self.options.new { "create" } else { "update" };
        let mut event = scope.event(action, "deployment", Some(self.deployment.clone()));
        event.parent_id = scope.task.event(event.clone()).await?;
        let set = if self.options.deploy && !self.options.dry_run {
            Some(
                db::variables::create_set(scope.db(), scope.deployment.id)
                    .await?
                    .id,
            )
        } else {
            None
        };
        let (name, uuid) = (&self.deployment, &scope.director.uuid);
        if !self.options.dry_run {
            let summary = format!("Begin update deployment for '{name}' against Director '{uuid}'");
            scope
                .notify(WARNING, "director - begin update deployment", summary)
                .await;
        }
        let done = self.deploy(scope, set).await;
        if let Some(set) = set {
            db::variables::finish_set(scope.db(), set, done.is_ok()).await?;
        }
        let after = used(scope).await?;
        event.error = done.as_ref().err().map(ToString::to_string);
        event.context = Some(json!({"before": before, "after": after}));
        scope.task.event(event).await?;
        match &done {
            Ok(()) if !self.options.dry_run => {
                if let Some(set) = set {
                    db::variables::remove_unused_sets(scope.db(), scope.deployment.id, set).await?;
                }
                let summary =
                    format!("Finish update deployment for '{name}' against Director '{uuid}'");
                scope
                    .notify(WARNING, "director - finish update deployment", summary)
                    .await;
            }
            Err(error) if !self.options.dry_run => {
                let summary = format!(
                    "Error during update deployment for '{name}' against Director '{uuid}': {error}"
                );
                scope
                    .notify(ERROR, "director - error during update deployment", summary)
                    .await;
            }
            _ => {}
        }
        done
    }

    async fn deploy(&self, scope: &Scope, set: Option<VariableSetId>) -> Result<(), Error> {
        let task = &scope.task;
        let stage = task.stage("Preparing deployment", Vec::new(), Some(1));
        let request = Request {
            manifest: self.manifest.clone(),
            cloud_configs: self.cloud_config_ids.clone(),
            runtime_configs: self.runtime_config_ids.clone(),
            options: self.options.for_manifest(),
            ask: Ask::All,
            variable_set: set,
            newest_variables: self.options.force_latest_variables,
        };
        let mut prepared = stage
            .run("Preparing deployment", prepare(scope, request))
            .await?;
        self.warn(task, &prepared);
        let rendered = stage
            .run("Rendering templates", prepared.render(scope))
            .await;
        if let Err(error) = rendered {
            persist::give_back(scope, &prepared.written).await?;
            return Err(error);
        }
        if self.options.dry_run {
            let compiled = compile::table(&compile::find(scope, &prepared.desired).await?);
            task.debug(describe(&prepared.plan(&compiled, &BTreeSet::new()))?);
            return Ok(());
        }
        finish::begin(scope, &prepared).await?;
        let properties = prepared.compilation_properties(scope).await?;
        let (values, set) = (&prepared.values, prepared.variable_set);
        let compiled = compile::run(scope, &prepared.desired, values, set, properties).await?;
        let plan = prepared.plan_with_names(scope, &compiled).await?;
        task.debug(describe(&plan)?);
        let subjects = subjects::of_plan(&prepared, &plan);
        let execution = Execution::new(
            scope,
            &prepared.renderer,
            &plan,
            subjects.deletions,
            subjects.groups,
        );
        let changed = execution.run().await?;
        finish::end(
            scope,
            &prepared,
            self.options
                .manifest_text
                .as_deref()
                .unwrap_or(&self.manifest),
        )
        .await?;
        if changed {
            execution.post_deploy().await?;
        }
        if self.options.deploy {
            networks::leave(scope, &prepared.desired).await?;
        }
        finish::tidy(scope, &prepared).await
    }

    fn warn(&self, task: &Context, prepared: &Prepared) {
        if prepared
            .current
            .instances
            .iter()
            .any(|instance| instance.ignore)
        {
            task.warn("You have ignored instances. They will not be changed.");
        }
        if let Some(time) = &self.options.recreate_vms_created_before
            && OffsetDateTime::parse(time, &Rfc3339)
                .is_ok_and(|time| time > OffsetDateTime::now_utc())
        {
            task.warn(&format!(
                "The recreate_vms_created_before timestamp '{time}' is in the future. \
                 No VMs will be filtered by age - all VMs marked for recreation will be recreated."
            ));
        }
    }
}

impl Options {
    /// As the manifest's meaning depends on them.
    fn for_manifest(&self) -> manifest::Options {
        let job_states = self.job_states.iter().map(|(group, states)| {
            let mut wanted = Map::new();
            if let Some(state) = &states.state {
                wanted.insert("state".into(), json!(state));
            }
            if !states.instance_states.is_empty() {
                let instances: Map<String, Value> = states
                    .instance_states
                    .iter()
                    .map(|(index, state)| (index.to_string(), json!(state)))
                    .collect();
                wanted.insert("instance_states".into(), Value::Object(instances));
            }
            (group.clone(), wanted)
        });
        manifest::Options {
            deploy: self.deploy,
            recreate: self.recreate,
            recreate_vms_created_before: self.recreate_vms_created_before.clone(),
            recreate_persistent_disks: self.recreate_persistent_disks,
            fix: self.fix,
            skip_drain: self.skip_drain.clone(),
            canaries: self.canaries.clone(),
            max_in_flight: self.max_in_flight.clone(),
            job_states: job_states.collect(),
            dry_run: self.dry_run,
            ..manifest::Options::default()
        }
    }
}

/// Releases and stemcells in use, as events show them.
async fn used(scope: &Scope) -> Result<Value, Error> {
    let id = Some(scope.deployment.id);
    let releases = db::deployments::releases(scope.db(), id).await?;
    let releases: Vec<String> = releases
        .iter()
        .map(|used| format!("{}/{}", used.name, used.version))
        .collect();
    let stemcells = db::deployments::stemcells(scope.db(), id).await?;
    let stemcells: Vec<String> = stemcells
        .iter()
        .map(|used| format!("{}/{}", used.name, used.version))
        .collect();
    let mut used = Map::new();
    if !releases.is_empty() {
        used.insert("releases".into(), json!(releases));
    }
    if !stemcells.is_empty() {
        used.insert("stemcells".into(), json!(stemcells));
    }
    Ok(Value::Object(used))
}

/// A plan for the debug log.
fn describe(plan: &Plan) -> Result<String, Error> {
    Ok(format!("Plan:\n{}", serde_json::to_string_pretty(plan)?))
}
