//! Makes [`Subject`]s of rows and plans.

use serde_json::{Map, Value};

use super::execute::{self, Group};
use super::load::{self, Rows};
use super::plan::decision::{Action, Change, InstancePlan, Plan};
use super::plan::spec::Spec;
use super::prepare::Prepared;
use super::subject::Subject;
use crate::db::TemplateId;
use crate::db::instances::Instance as Row;
use crate::manifest::catalog::Stemcell;
use crate::manifest::resolved::InstanceGroup;
use crate::manifest::update::{Update, VmStrategy};
use crate::manifest::{State, ip::Block};
use crate::template::Rendered;
use crate::variables::Values;

/// An instance as it is, to be deleted or detached.
pub fn of_row(row: &Row, rows: &Rows, skip_drain: bool, unresponsive: bool) -> Subject {
    let spec = match row.spec() {
        Value::Object(spec) => Spec(spec),
        _ => Spec::default(),
    };
    let swap = spec
        .0
        .get("update")
        .and_then(|update| update.get("vm_strategy"));
    let swap = swap.is_some_and(|strategy| strategy == "create-swap-delete");
    Subject {
        id: row.id,
        uuid: row.uuid().to_owned(),
        group: row.job.clone(),
        index: row.index,
        az: row.availability_zone.clone(),
        compilation: row.compilation.unwrap_or(false),
        was: row.state.clone(),
        state: State::Detached,
        action: Action::Detach,
        verb: "delete",
        changes: Vec::new(),
        stemcell: Stemcell::default(),
        cpi: rows
            .active_vm(row.id)
            .and_then(|vm| vm.cpi.clone())
            .unwrap_or_default(),
        cloud_properties: load::object(row.cloud_properties.as_deref()).unwrap_or_default(),
        env: Map::new(),
        tags: Map::new(),
        values: Values::default(),
        variable_set: row.variable_set_id,
        update: Update::default(),
        desired_disks: Vec::new(),
        disk_changes: Vec::new(),
        templates: Vec::new(),
        rendered: None,
        obsolete_ips: Vec::new(),
        skip_drain,
        unresponsive,
        swap,
        vm: rows.active_vm(row.id).cloned(),
        inactive: rows.inactive_vms(row.id),
        disks: rows.disks(row.id),
        link_groups: Vec::new(),
        fresh: false,
        spec,
    }
}

/// The instances of a plan, in the hands of the executor.
pub struct Subjects<'a> {
    /// Those to be deleted first, with compilation VMs that an earlier task left.
    pub deletions: Vec<Subject>,
    /// The groups.
    pub groups: Vec<Group<'a>>,
}

/// All instances of `plan`.
pub fn of_plan<'a>(prepared: &Prepared, plan: &'a Plan) -> Subjects<'a> {
    let mut deletions: Vec<Subject> = prepared
        .rows
        .compilation
        .iter()
        .map(|row| of_row(row, &prepared.rows, true, false))
        .collect();
    deletions.extend(gone(prepared, &plan.deletions));
    let mut groups = Vec::new();
    for (position, group) in plan.groups.iter().enumerate() {
        let desired = &prepared.desired.instance_groups[position];
        let instances = group.instances.iter().enumerate().map(|(index, instance)| {
            let rendered = prepared.rendered.get(&instance.placed.uuid).cloned();
            tokio::sync::Mutex::new(of_instance(
                prepared, desired, instance, position, index, rendered,
            ))
        });
        groups.push(Group {
            instances: instances.collect(),
            deletions: gone(prepared, &group.deletions)
                .into_iter()
                .map(tokio::sync::Mutex::new)
                .collect(),
            plan: group,
        });
    }
    Subjects { deletions, groups }
}

fn gone(prepared: &Prepared, deletions: &[super::plan::decision::Deletion]) -> Vec<Subject> {
    deletions
        .iter()
        .filter_map(|deletion| {
            let row = prepared.rows.instances.get(deletion.existing)?;
            let agent = prepared
                .current
                .instances
                .get(deletion.existing)?
                .agent
                .as_ref();
            let unresponsive = agent.is_some_and(|agent| agent.job_state == "unresponsive");
            Some(of_row(
                row,
                &prepared.rows,
                deletion.skip_drain,
                unresponsive,
            ))
        })
        .collect()
}

/// One instance of a plan.
pub fn of_instance(
    prepared: &Prepared,
    group: &InstanceGroup,
    plan: &InstancePlan,
    position: usize,
    index: usize,
    rendered: Option<Rendered>,
) -> Subject {
    let id = prepared.id(position, index);
    let rows = &prepared.rows;
    let existing = plan
        .placed
        .existing
        .and_then(|index| rows.instances.get(index));
    let mut tags = prepared.desired.tags.clone();
    tags.extend(group.tags.clone());
    let mut link_groups: Vec<String> = prepared
        .renderer
        .links()
        .providers
        .iter()
        .filter(|provider| provider.instance_group == group.name)
        .map(crate::links::Provider::group_name)
        .collect();
    link_groups.sort_unstable();
    link_groups.dedup();
    let changes: Vec<Change> = plan.reasons.iter().map(|reason| reason.change).collect();
    Subject {
        id,
        uuid: plan.placed.uuid.clone(),
        group: plan.placed.group.clone(),
        index: i32::try_from(plan.placed.index).unwrap_or(i32::MAX),
        az: plan.placed.az.clone(),
        compilation: false,
        was: existing.map_or_else(|| "started".to_owned(), |row| row.state.clone()),
        state: plan.state,
        action: plan.action,
        verb: execute::verb(plan),
        changes,
        spec: plan.spec.clone(),
        stemcell: plan.stemcell.clone(),
        cpi: plan.placed.cpi.clone(),
        cloud_properties: plan.cloud_properties.clone(),
        env: plan.env.clone(),
        tags,
        values: prepared.values.clone(),
        variable_set: prepared.variable_set,
        update: group.update.clone(),
        desired_disks: plan.desired_disks.clone(),
        disk_changes: plan.disks.clone(),
        templates: templates(group),
        rendered,
        obsolete_ips: obsolete(plan),
        skip_drain: plan.skip_drain,
        unresponsive: plan.unresponsive,
        swap: plan.vm_strategy == VmStrategy::CreateSwapDelete,
        vm: rows.active_vm(id).cloned(),
        inactive: rows.inactive_vms(id),
        disks: rows.disks(id),
        link_groups,
        fresh: false,
    }
}

fn templates(group: &InstanceGroup) -> Vec<TemplateId> {
    group
        .jobs
        .iter()
        .filter_map(|job| i32::try_from(job.catalog.id).ok().map(TemplateId))
        .collect()
}

fn obsolete(plan: &InstancePlan) -> Vec<String> {
    use super::plan::placement::ReservationStatus;
    let gone = plan
        .placed
        .reservations
        .iter()
        .filter(|reservation| reservation.status == ReservationStatus::Obsolete);
    gone.filter_map(|reservation| reservation.block.as_ref().map(Block::to_string))
        .collect()
}
