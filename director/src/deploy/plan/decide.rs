//! From placement and present state to what has to happen.
//!
//! Upstream: deployment_plan/instance_plan.rb (`changes`), instance_group_updater.rb,
//! multi_instance_group_updater.rb, instance_updater/update_procedure.rb.

use serde_json::{Map, Value};

use super::compare;
use super::current::{Current, Instance, Vm};
use super::decision::{
    Action, Bound, Change, Deletion, DiskChange, GroupPlan, InstancePlan, Plan, Reason, Round,
};
use super::placement::{
    PlacedGroup, PlacedInstance, Placement, ReservationStatus, starts_on_deploy,
    uses_create_swap_delete,
};
use super::spec::{self, Spec};
use crate::manifest::resolved::{Desired, Disk};
use crate::manifest::update::{AzStrategy, VmStrategy};
use crate::manifest::{InstanceGroup, State, catalog};
use crate::variables::interpolate::{Rules, interpolate};

/// Works out what has to happen so that a deployment becomes as it should be.
///
/// Applying the plan and planning again yields a plan that [`Plan::is_empty`].
pub fn plan(desired: &Desired, current: &Current, placement: &Placement, bound: &Bound) -> Plan {
    let deletions = placement
        .obsolete
        .iter()
        .map(|index| deletion(*index, desired, current))
        .collect();
    let groups: Vec<GroupPlan> = desired
        .instance_groups
        .iter()
        .zip(&placement.groups)
        .map(|(group, placed)| plan_group(group, placed, desired, current, bound))
        .collect();
    let batches = batches(&groups);
    Plan {
        deployment: desired.name.clone(),
        deletions,
        groups,
        batches,
    }
}

fn deletion(index: usize, desired: &Desired, current: &Current) -> Deletion {
    let instance = &current.instances[index];
    Deletion {
        existing: index,
        id: instance.id,
        display: format!("{}/{} ({})", instance.group, instance.uuid, instance.index),
        skip_drain: desired.skip_drain.covers(&instance.group),
    }
}

/// Groups that are serial go alone; those between them that are not go together.
fn batches(groups: &[GroupPlan]) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut parallel = false;
    for (index, group) in groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.starts_on_deploy)
    {
        match batches.last_mut() {
            Some(batch) if parallel && !group.update.serial => batch.push(index),
            _ => batches.push(vec![index]),
        }
        parallel = !group.update.serial;
    }
    batches
}

fn plan_group(
    group: &InstanceGroup,
    placed: &PlacedGroup,
    desired: &Desired,
    current: &Current,
    bound: &Bound,
) -> GroupPlan {
    let starts = starts_on_deploy(group, placed, desired, current);
    let mut instances: Vec<InstancePlan> = placed
        .instances
        .iter()
        .map(|placed| plan_instance(group, placed, desired, current, bound, starts))
        .collect();
    match_inactive_vms(group, &mut instances, current, bound);
    let deletions: Vec<Deletion> = placed
        .obsolete
        .iter()
        .map(|index| deletion(*index, desired, current))
        .collect();
    let rounds = if starts {
        rounds(group, &instances, current)
    } else {
        Vec::new()
    };
    GroupPlan {
        name: group.name.clone(),
        lifecycle: group.lifecycle,
        update: group.update.clone(),
        starts_on_deploy: starts,
        deletions,
        instances,
        rounds,
    }
}

fn rounds(group: &InstanceGroup, instances: &[InstancePlan], current: &Current) -> Vec<Round> {
    let to_update: Vec<usize> = (0..instances.len())
        .filter(|index| !matches!(instances[*index].action, Action::None | Action::Ignore))
        .collect();
    let together =
        group.update.initial_deploy_az_update_strategy == AzStrategy::Parallel && !current.deployed;
    let mut zones: Vec<(Option<&String>, Vec<usize>)> = Vec::new();
    for index in to_update {
        let az = instances[index].placed.az.as_ref().filter(|_| !together);
        match zones.iter_mut().find(|(zone, _)| *zone == az) {
            Some((_, members)) => members.push(index),
            None => zones.push((az, vec![index])),
        }
    }
    zones
        .into_iter()
        .enumerate()
        .map(|(position, (_, mut members))| {
            let canaries = if position == 0 {
                group.update.canaries(members.len())
            } else {
                0
            };
            let max_in_flight = group.update.max_in_flight(members.len());
            let rest = members.split_off(canaries);
            Round {
                canaries: members,
                rest,
                max_in_flight,
            }
        })
        .collect()
}

fn plan_instance(
    group: &InstanceGroup,
    placed: &PlacedInstance,
    desired: &Desired,
    current: &Current,
    bound: &Bound,
    starts: bool,
) -> InstancePlan {
    let existing = placed.existing.map(|index| &current.instances[index]);
    let stemcell = compare::stemcell_for(group, &placed.cpi);
    let az = group
        .azs
        .iter()
        .find(|az| Some(&az.name) == placed.az.as_ref());
    let mut cloud_properties = group.cloud_properties(az.map(AsRef::as_ref));
    if let Some(computed) = bound
        .vm_resources
        .get(&(group.name.clone(), placed.cpi.clone()))
    {
        for (key, value) in computed {
            cloud_properties.insert(key.clone(), value.clone());
        }
    }
    let state = placed.state.lasting();
    let mut plan = InstancePlan {
        placed: placed.clone(),
        id: existing.map(|instance| instance.id),
        action: Action::None,
        reasons: Vec::new(),
        state,
        spec: Spec::build(desired, group, placed, &stemcell, bound),
        stemcell,
        cloud_properties,
        env: group.env.clone(),
        disks: Vec::new(),
        desired_disks: group.disks.clone(),
        vm_strategy: if uses_create_swap_delete(group) {
            VmStrategy::CreateSwapDelete
        } else {
            VmStrategy::DeleteCreate
        },
        missing_vm: starts
            && state != State::Detached
            && existing.is_none_or(|instance| instance.vm.is_none()),
        reusable_vm: None,
        orphan_vms: Vec::new(),
        skip_drain: desired.skip_drain.covers(&group.name),
        unresponsive: existing.is_some_and(compare::is_unresponsive),
    };
    if placed.ignore {
        plan.action = Action::Ignore;
        plan.missing_vm = false;
        return plan;
    }
    if !starts {
        return plan;
    }
    plan.disks = disk_changes(&group.disks, existing, desired, current, bound);
    let Some(existing) = existing else {
        plan.reasons.push(Reason {
            change: Change::State,
            detail: Some("new instance".into()),
        });
        plan.action = match state {
            State::Detached => Action::None,
            _ => Action::Create,
        };
        return plan;
    };
    let comparison = Comparison {
        group,
        placed,
        existing,
        desired,
        current,
        bound,
    };
    plan.reasons = comparison.reasons(&plan);
    plan.action = action(&plan, existing);
    plan
}

fn action(plan: &InstancePlan, existing: &Instance) -> Action {
    if plan.reasons.is_empty() {
        return Action::None;
    }
    let minor = |reason: &Reason| matches!(reason.change, Change::Dns | Change::Tags);
    let only_minor = plan.reasons.iter().all(minor);
    match plan.state {
        State::Detached if existing.state == State::Detached && existing.vm.is_none() => {
            Action::None
        }
        State::Detached => Action::Detach,
        _ if existing.vm.is_none() => Action::Create,
        _ if only_minor => Action::Metadata,
        State::Stopped => Action::Stop,
        _ if plan.needs_new_vm() => Action::Recreate,
        _ => Action::Update,
    }
}

impl InstancePlan {
    /// Whether its VM cannot stay. Upstream: `needs_shutting_down?`.
    pub fn needs_new_vm(&self) -> bool {
        [
            Change::CloudProperties,
            Change::Stemcell,
            Change::Env,
            Change::Recreate,
            Change::Network,
        ]
        .into_iter()
        .any(|change| self.has(change))
    }
}

struct Comparison<'a> {
    group: &'a InstanceGroup,
    placed: &'a PlacedInstance,
    existing: &'a Instance,
    desired: &'a Desired,
    current: &'a Current,
    bound: &'a Bound,
}

impl Comparison<'_> {
    fn reasons(&self, plan: &InstancePlan) -> Vec<Reason> {
        let existing = self.existing;
        let settings = &self.desired.settings;
        let vm = existing.vm.as_ref();
        let vm_differs = |recorded: fn(&Vm) -> &Option<String>, wanted: &String| {
            vm.is_some_and(|vm| recorded(vm).as_ref().unwrap_or(&String::new()) != wanted)
        };
        let checks: [(Change, bool); 18] = [
            (Change::Dirty, !existing.update_completed),
            (Change::Restart, self.placed.state == State::Restart),
            (
                Change::Recreate,
                compare::recreation_requested(self.placed, existing, self.desired),
            ),
            (
                Change::RecreatePersistentDisks,
                self.desired.options.recreate_persistent_disks,
            ),
            (
                Change::CloudProperties,
                compare::cloud_properties_differ(
                    &plan.cloud_properties,
                    existing,
                    self.current,
                    &self.bound.values,
                ),
            ),
            (
                Change::Stemcell,
                compare::stemcell_differs(&plan.stemcell, existing),
            ),
            (Change::Env, compare::env_differs(self.group, existing)),
            (Change::Network, self.network_differs()),
            (Change::Packages, self.packages_differ(plan)),
            (Change::PersistentDisk, !plan.disks.is_empty()),
            (Change::Configuration, self.configuration_differs()),
            (Change::Job, self.job_differs(plan)),
            (Change::State, self.state_differs(plan)),
            (
                Change::Dns,
                self.bound.dns_changed.contains(&self.placed.uuid),
            ),
            (
                Change::TrustedCerts,
                vm_differs(|vm| &vm.trusted_certs_sha1, &settings.trusted_certs_sha1),
            ),
            (
                Change::BlobstoreConfig,
                vm_differs(
                    |vm| &vm.blobstore_config_sha1,
                    &settings.blobstore_config_sha1,
                ),
            ),
            (
                Change::NatsConfig,
                vm_differs(|vm| &vm.nats_config_sha1, &settings.nats_config_sha1),
            ),
            (Change::Tags, self.desired.tags != self.current.tags),
        ];
        checks
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(change, _)| Reason {
                change,
                detail: self.detail(change, plan),
            })
            .collect()
    }

    /// A few words on a difference, where they cannot hold a secret.
    fn detail(&self, change: Change, plan: &InstancePlan) -> Option<String> {
        match change {
            Change::Stemcell => {
                let stemcell = self.existing.spec.get("stemcell")?;
                let text = |key: &str| {
                    stemcell
                        .get(key)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                Some(format!(
                    "{}/{} -> {}/{}",
                    text("name"),
                    text("version"),
                    plan.stemcell.name,
                    plan.stemcell.version
                ))
            }
            Change::State => {
                let agent = self.existing.agent.as_ref();
                let is = agent.map_or("no vm", |agent| agent.job_state.as_str());
                Some(format!("{is} -> {}", plan.state.as_str()))
            }
            Change::Packages => {
                let old = self
                    .existing
                    .spec
                    .get("packages")
                    .and_then(Value::as_object);
                let new = plan.spec.0.get("packages").and_then(Value::as_object)?;
                let mut names: Vec<&str> = new
                    .iter()
                    .filter(|(name, package)| {
                        let before = old.and_then(|old| old.get(*name));
                        before.map(comparable) != Some(comparable(package))
                    })
                    .map(|(name, _)| name.as_str())
                    .collect();
                names.extend(
                    old.into_iter()
                        .flat_map(|old| old.keys())
                        .filter(|name| !new.contains_key(*name))
                        .map(String::as_str),
                );
                Some(names.join(", "))
            }
            _ => None,
        }
    }

    fn network_differs(&self) -> bool {
        let moves = self
            .placed
            .reservations
            .iter()
            .any(|reservation| reservation.status != ReservationStatus::Existing);
        if moves {
            return true;
        }
        let old = match self.existing.spec.get("networks") {
            Some(Value::Object(old)) if !old.is_empty() => without_records(old),
            _ => return false,
        };
        compare::differ(
            &Value::Object(old),
            self.current.variable_sets.get(&self.existing.variable_set),
            &Value::Object(without_records(&self.placed.networks)),
            &self.bound.values,
        )
    }

    fn packages_differ(&self, plan: &InstancePlan) -> bool {
        let comparable = |spec: Option<&Value>| -> Map<String, Value> {
            let packages = spec.and_then(Value::as_object);
            packages
                .into_iter()
                .flatten()
                .map(|(name, package)| (name.clone(), comparable(package)))
                .collect()
        };
        comparable(plan.spec.0.get("packages")) != comparable(self.existing.spec.get("packages"))
    }

    fn configuration_differs(&self) -> bool {
        let Some(rendered) = self.bound.rendered.get(&self.placed.uuid) else {
            return false;
        };
        let old = self
            .existing
            .spec
            .get("configuration_hash")
            .and_then(Value::as_str);
        old != Some(rendered.configuration_hash.as_str())
    }

    fn job_differs(&self, plan: &InstancePlan) -> bool {
        let new = plan.spec.0.get("job").unwrap_or(&Value::Null);
        let old = self.existing.spec.get("job").unwrap_or(&Value::Null);
        match (old, new) {
            (Value::Null, Value::Null) => false,
            (Value::Null, _) | (_, Value::Null) => true,
            _ => job_core(old) != job_core(new),
        }
    }

    fn state_differs(&self, plan: &InstancePlan) -> bool {
        if plan.state == State::Detached && self.existing.state != State::Detached {
            return true;
        }
        let job_state = self
            .existing
            .agent
            .as_ref()
            .map_or("", |agent| agent.job_state.as_str());
        match plan.state {
            _ if plan.missing_vm || job_state == "unresponsive" => true,
            State::Stopped => job_state == "running",
            State::Started => job_state != "running",
            _ => false,
        }
    }
}

/// The parts of a package's spec that count.
fn comparable(package: &Value) -> Value {
    let Value::Object(map) = package else {
        return package.clone();
    };
    let counts = ["blobstore_id", "sha1", "name", "version"];
    let mut entries: Vec<(String, Value)> = map
        .iter()
        .filter(|(key, _)| counts.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}

/// Name and templates of a job's spec, templates by name.
fn job_core(job: &Value) -> (Option<&str>, Vec<&Value>) {
    let mut templates: Vec<&Value> = job
        .get("templates")
        .and_then(Value::as_array)
        .map(|all| all.iter().collect())
        .unwrap_or_default();
    templates.sort_by_key(|template| {
        template
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    });
    (job.get("name").and_then(Value::as_str), templates)
}

fn without_records(networks: &Map<String, Value>) -> Map<String, Value> {
    networks
        .iter()
        .map(|(name, settings)| {
            let mut settings = settings.clone();
            if let Value::Object(settings) = &mut settings {
                settings.shift_remove("dns_record_name");
            }
            (name.clone(), settings)
        })
        .collect()
}

fn disk_changes(
    wanted: &[Disk],
    existing: Option<&Instance>,
    desired: &Desired,
    current: &Current,
    bound: &Bound,
) -> Vec<DiskChange> {
    let present = existing
        .map(|instance| instance.disks.as_slice())
        .unwrap_or_default();
    let old_values =
        existing.and_then(|instance| current.variable_sets.get(&instance.variable_set));
    let mut changes = Vec::new();
    for new in wanted {
        let Some(old) = present.iter().find(|old| old.name == new.name) else {
            changes.push(DiskChange::Create {
                name: new.name.clone(),
                size: new.size,
            });
            continue;
        };
        let same_properties = !compare::differ(
            &Value::Object(old.cloud_properties.clone()),
            old_values,
            &Value::Object(new.cloud_properties.clone()),
            &bound.values,
        );
        let (id, size) = (old.id, new.size);
        if desired.options.recreate_persistent_disks || !same_properties || old.size > new.size {
            changes.push(DiskChange::Migrate { id, size });
        } else if old.size < new.size {
            changes.push(DiskChange::Resize { id, size });
        }
    }
    for old in present {
        if !wanted.iter().any(|new| new.name == old.name) {
            changes.push(DiskChange::Delete { id: old.id });
        }
    }
    changes
}

/// Whether a VM, not in use, is what the instance should have. Upstream: `vm_matches_plan?`.
fn fits(
    vm: &Vm,
    stemcell: &catalog::Stemcell,
    plan: &InstancePlan,
    existing: &Instance,
    current: &Current,
    bound: &Bound,
) -> bool {
    let Some(cloud_properties) = &vm.cloud_properties else {
        return false;
    };
    vm.stemcell_name.as_ref() == Some(&stemcell.name)
        && vm.stemcell_version.as_ref() == Some(&stemcell.version)
        && vm.env.clone().unwrap_or_default() == plan.env
        && !compare::differ(
            &Value::Object(cloud_properties.clone()),
            current.variable_sets.get(&existing.variable_set),
            &Value::Object(plan.cloud_properties.clone()),
            &bound.values,
        )
}

fn match_inactive_vms(
    group: &InstanceGroup,
    instances: &mut [InstancePlan],
    current: &Current,
    bound: &Bound,
) {
    for plan in instances.iter_mut() {
        let Some(existing) = plan.placed.existing.map(|index| &current.instances[index]) else {
            continue;
        };
        let (mut usable, mut orphans) = (None, Vec::new());
        for vm in &existing.inactive_vms {
            if fits(vm, &plan.stemcell, plan, existing, current, bound)
                && uses_create_swap_delete(group)
            {
                usable = Some(vm.id);
            } else {
                orphans.push(vm.id);
            }
        }
        plan.reusable_vm = usable;
        plan.orphan_vms = orphans;
    }
}

/// Fills in the placeholders of what `create_vm` is given: cloud properties, network settings, environment.
///
/// # Errors
/// Variables that are not there.
pub fn vm_arguments(
    plan: &InstancePlan,
    values: &crate::variables::Values,
) -> Result<(Value, Value, Value), crate::manifest::Error> {
    let fill = |map: &Map<String, Value>| {
        interpolate(&Value::Object(map.clone()), values, Rules::default())
    };
    Ok((
        fill(&plan.cloud_properties)?,
        fill(&plan.placed.networks)?,
        fill(&plan.env)?,
    ))
}

/// `job` of the spec of instances of the group.
pub fn job_spec(group: &InstanceGroup) -> Value {
    spec::job(group)
}
