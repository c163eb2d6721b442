//! Which instances there are, where they are, and at which addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::addresses::{self, Ledger, Strategy, Wanted};
use super::current::{Current, Instance, IpOwner};
use super::names::Index;
use super::statics::{self, StaticMatched, StaticSlot};
use super::zones::{self, Slot};
use super::{compare, settings};
use crate::manifest::ip::Block;
use crate::manifest::resolved::{Az, Desired, Lifecycle, NetworkKind};
use crate::manifest::update::VmStrategy;
use crate::manifest::{Error, InstanceGroup, Kind, State};
use crate::variables::Values;

/// The instances a deployment should have, matched with those it has.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Placement {
    /// One per desired instance group, in the order of the manifest.
    pub groups: Vec<PlacedGroup>,
    /// Existing instances of groups that are gone: indexes into [`super::Current::instances`].
    pub obsolete: Vec<usize>,
}

impl Placement {
    /// The placed group called `name`.
    pub fn group(&self, name: &str) -> Option<&PlacedGroup> {
        self.groups.iter().find(|group| group.name == name)
    }
}

/// The instances of a group.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PlacedGroup {
    /// Its name.
    pub name: String,
    /// Its instances in the order in which they are updated.
    pub instances: Vec<PlacedInstance>,
    /// Existing instances it has too many: indexes into [`super::Current::instances`].
    pub obsolete: Vec<usize>,
}

/// An instance that should be.
#[derive(Debug, Clone, Serialize)]
pub struct PlacedInstance {
    /// Its group.
    pub group: String,
    /// Its id in the world outside, made up for a new one.
    pub uuid: String,
    /// Its index.
    pub index: u32,
    /// Its zone.
    pub az: Option<String>,
    /// The CPI of its zone; empty for the director's own.
    pub cpi: String,
    /// Whether it is the bootstrap instance.
    pub bootstrap: bool,
    /// Whether it is to be left alone.
    pub ignore: bool,
    /// State it should be in, as asked for: may be `recreate` or `restart`.
    pub state: State,
    /// Its present self: index into [`super::Current::instances`].
    pub existing: Option<usize>,
    /// Its addresses, including those it has to give up.
    pub reservations: Vec<Reservation>,
    /// `networks` of its spec: what `create_vm` and the agent are given. Upstream: network_settings.rb.
    pub networks: Map<String, Value>,
    /// Its address as others should use it: an IP, or a DNS name if the deployment wants those.
    pub address: String,
}

impl PlacedInstance {
    /// `group/uuid`, as upstream names an instance in paths and events.
    pub fn name(&self) -> String {
        format!("{}/{}", self.group, self.uuid)
    }

    /// `group/uuid (index)`, as upstream shows an instance in a task's stages.
    pub fn display(&self) -> String {
        format!("{}/{} ({})", self.group, self.uuid, self.index)
    }
}

/// An address of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reservation {
    /// Its network.
    pub network: String,
    /// The address; `None` in a dynamic network until the VM is there.
    pub block: Option<Block>,
    /// Whether it was asked for in the manifest.
    pub is_static: bool,
    /// Its interface, where several networks share one.
    pub nic_group: Option<i64>,
    /// Where it stands.
    pub status: ReservationStatus,
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationStatus {
    /// The instance has it and keeps it.
    Existing,
    /// It is to be written down before anything else happens.
    New,
    /// It is to be given up when the VM that has it is gone.
    Obsolete,
}

/// What is not decided by the manifest and the present state alone.
pub struct Chance<'a> {
    /// Makes up the id of a new instance.
    pub uuid: &'a mut dyn FnMut() -> String,
    /// A number below the one given, to pick among zones when the deployment asks for chance.
    pub below: &'a mut dyn FnMut(usize) -> usize,
}

/// Works out which instances there should be, where, and at which addresses.
///
/// `values` are the variables as known before this deploy generates new ones.
///
/// # Errors
/// No address left, static addresses that do not fit, ignored instances that would change, migrations that
/// cannot be.
pub fn place(
    desired: &Desired,
    current: &Current,
    values: &Values,
    chance: &mut Chance<'_>,
) -> Result<Placement, Error> {
    let mut placement = Placement::default();
    let mut ledger = Ledger::new(current);
    let mut indexes = Indexes::new(current);
    let mut claimed = BTreeSet::new();
    for group in &desired.instance_groups {
        let existing = existing_of(group, desired, current)?;
        claimed.extend(existing.iter().map(|(index, _)| *index));
        let placed = place_group(
            group,
            desired,
            current,
            &existing,
            values,
            chance,
            &mut indexes,
        )?;
        placement.groups.push(placed);
    }
    for (index, instance) in current.instances.iter().enumerate() {
        if claimed.contains(&index) {
            continue;
        }
        if instance.ignore {
            return Err(Error::new(
                Kind::DeploymentIgnoredInstancesDeletion,
                format!(
                    "You are trying to delete instance group '{}', which contains ignored instance(s). \
                     Operation not allowed.",
                    instance.group
                ),
            ));
        }
        placement.obsolete.push(index);
    }
    for (group, placed) in desired.instance_groups.iter().zip(&mut placement.groups) {
        if !starts_on_deploy(group, placed, desired, current) {
            continue;
        }
        for instance in &mut placed.instances {
            let existing = instance.existing.map(|index| &current.instances[index]);
            let owner = IpOwner {
                instance: existing.map(|existing| existing.id),
                name: instance.name(),
                deployment: desired.name.clone(),
            };
            let display = instance.display();
            ledger.settle(
                &mut instance.reservations,
                desired,
                &owner,
                &display,
                instance.az.as_deref(),
            )?;
            let agent = existing.and_then(|existing| existing.agent.as_ref());
            instance.networks = settings::networks(group, instance, desired, agent)?;
        }
    }
    placement.name_addresses(desired, &Index::default())?;
    Ok(placement)
}

/// Whether a group takes part in a deploy: services do, errands if they have a VM or are to be run.
pub(super) fn starts_on_deploy(
    group: &InstanceGroup,
    placed: &PlacedGroup,
    desired: &Desired,
    current: &Current,
) -> bool {
    group.lifecycle == Lifecycle::Service
        || desired.options.start_errand.as_deref() == Some(group.name.as_str())
        || placed
            .instances
            .iter()
            .filter_map(|placed| placed.existing)
            .map(|index| &current.instances[index])
            .any(|instance| instance.vm.is_some() || instance.state == State::Detached)
}

impl Placement {
    /// Sets every instance's address as others should use it. Short DNS names need the numbers in `index`, which
    /// new instances have only once they are written down.
    pub fn name_addresses(&mut self, desired: &Desired, index: &Index) -> Result<(), Error> {
        for (group, placed) in desired.instance_groups.iter().zip(&mut self.groups) {
            for instance in &mut placed.instances {
                instance.address =
                    settings::address(group, instance, desired, index)?.unwrap_or_default();
            }
        }
        Ok(())
    }
}

/// The instances a group can build on: its own and those of the groups it migrates from, by index.
fn existing_of<'a>(
    group: &InstanceGroup,
    desired: &Desired,
    current: &'a Current,
) -> Result<Vec<(usize, &'a Instance)>, Error> {
    let invalid = |message: String| Error::new(Kind::DeploymentInvalidMigratedFromJob, message);
    let mut all: Vec<(usize, &Instance)> = current
        .instances
        .iter()
        .enumerate()
        .filter(|(_, instance)| instance.group == group.name)
        .collect();
    for from in &group.migrated_from {
        let failed = format!(
            "Failed to migrate instance group '{}' to '{}'",
            from.name, group.name
        );
        if from.name != group.name && desired.instance_group(&from.name).is_some() {
            return Err(invalid(format!(
                "{failed}. A deployment can not migrate an instance group and also specify it. \
                 Please remove instance group '{}'.",
                from.name
            )));
        }
        let elsewhere = desired
            .instance_groups
            .iter()
            .filter(|other| other.name != group.name)
            .any(|other| {
                other
                    .migrated_from
                    .iter()
                    .any(|other| other.name == from.name)
            });
        if elsewhere {
            return Err(invalid(format!(
                "{failed}. An instance group may be migrated to only one instance group."
            )));
        }
        for (index, instance) in current.instances.iter().enumerate() {
            if instance.group != from.name || all.iter().any(|(other, _)| *other == index) {
                continue;
            }
            match (&instance.az, &from.az) {
                (None, None) if !group.azs.is_empty() => {
                    return Err(invalid(format!(
                        "{failed}, availability zone of '{}' is not specified",
                        from.name
                    )));
                }
                (Some(present), Some(stated)) if present != stated => {
                    return Err(invalid(format!(
                        "{failed}, '{}' belongs to availability zone '{present}' and manifest specifies '{stated}'",
                        from.name
                    )));
                }
                _ => all.push((index, instance)),
            }
        }
    }
    all.sort_by_key(|(_, instance)| instance.index);
    Ok(all)
}

/// Hands out the lowest unused index of a group.
struct Indexes(BTreeMap<String, BTreeSet<u32>>);

impl Indexes {
    fn new(current: &Current) -> Self {
        let mut all: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for instance in &current.instances {
            all.entry(instance.group.clone())
                .or_default()
                .insert(instance.index);
        }
        Self(all)
    }

    fn assign(&mut self, group: &str, existing: Option<&Instance>) -> u32 {
        if let Some(existing) = existing
            && existing.group == group
        {
            return existing.index;
        }
        let used = self.0.entry(group.to_owned()).or_default();
        let mut free = 0;
        for index in used.iter() {
            if *index == free {
                free += 1;
            } else {
                break;
            }
        }
        used.insert(free);
        free
    }
}

fn check_ignored_states(
    group: &InstanceGroup,
    existing: &[(usize, &Instance)],
) -> Result<(), Error> {
    for (_, instance) in existing.iter().filter(|(_, instance)| instance.ignore) {
        if group
            .instance_states
            .contains_key(&instance.index.to_string())
        {
            return Err(Error::new(
                Kind::JobInstanceIgnored,
                format!(
                    "You are trying to change the state of the ignored instance '{}/{}'. This operation is not allowed. \
                     You need to unignore it first.",
                    instance.group, instance.uuid
                ),
            ));
        }
    }
    Ok(())
}

fn place_group(
    group: &InstanceGroup,
    desired: &Desired,
    current: &Current,
    existing: &[(usize, &Instance)],
    values: &Values,
    chance: &mut Chance<'_>,
    indexes: &mut Indexes,
) -> Result<PlacedGroup, Error> {
    check_ignored_states(group, existing)?;
    // An instance that does not know its zone is in the one that the migration names.
    let located: Vec<(usize, Instance)> = existing
        .iter()
        .filter_map(|(index, instance)| {
            let from = group
                .migrated_from
                .iter()
                .find(|from| from.name == instance.group)?;
            (instance.az.is_none() && from.az.is_some()).then(|| {
                let mut located = (*instance).clone();
                located.az = from.az.clone();
                (*index, located)
            })
        })
        .collect();
    let existing: Vec<(usize, &Instance)> = existing
        .iter()
        .map(|(index, instance)| {
            let located = located.iter().find(|(other, _)| other == index);
            (*index, located.map_or(*instance, |(_, located)| located))
        })
        .collect();
    let matched = if group.networks.iter().any(statics::is_static) {
        statics::place(group, &existing)?
    } else {
        let mut tie = |candidates: &[&Arc<Az>]| {
            if desired.features.randomize_az_placement {
                (chance.below)(candidates.len())
            } else {
                zones::first_by_name(candidates)
            }
        };
        let matched = zones::place(group, &existing, &mut tie)?;
        let dynamic = |slot: Slot| StaticSlot {
            slot,
            ips: BTreeMap::new(),
        };
        StaticMatched {
            slots: matched.slots.into_iter().map(dynamic).collect(),
            obsolete: matched.obsolete,
        }
    };
    let mut wanted: Vec<Vec<Wanted>> = matched
        .slots
        .iter()
        .map(|slot| wanted_by(group, slot))
        .collect();
    let selves: Vec<Option<&Instance>> = matched
        .slots
        .iter()
        .map(|slot| {
            let index = slot.slot.existing?;
            existing
                .iter()
                .find(|(other, _)| *other == index)
                .map(|(_, instance)| *instance)
        })
        .collect();
    addresses::add_vips(group, &selves, &mut wanted)?;
    let mut instances = Vec::with_capacity(matched.slots.len());
    for ((slot, wanted), instance) in matched.slots.iter().zip(wanted).zip(&selves) {
        let az = slot.slot.az.as_deref();
        let mut placed = PlacedInstance {
            group: group.name.clone(),
            uuid: instance.map_or_else(|| (chance.uuid)(), |instance| instance.uuid.clone()),
            index: indexes.assign(&group.name, *instance),
            az: az.map(|az| az.name.clone()),
            cpi: az.and_then(|az| az.cpi.clone()).unwrap_or_default(),
            bootstrap: instance.is_some_and(|instance| instance.bootstrap),
            ignore: instance.is_some_and(|instance| instance.ignore),
            state: state_of(group, *instance),
            existing: slot.slot.existing,
            reservations: Vec::new(),
            networks: Map::new(),
            address: String::new(),
        };
        let strategy = if uses_create_swap_delete(group) {
            let recreate = instance.is_some_and(|instance| {
                compare::vm_must_go(group, az, &placed, instance, desired, current, values)
            });
            Strategy::CreateSwapDelete { recreate }
        } else {
            Strategy::DeleteCreate
        };
        placed.reservations = addresses::reconcile(
            desired,
            *instance,
            az.map(|az| az.name.as_str()),
            wanted,
            strategy,
        );
        instances.push(placed);
    }
    elect_bootstrap(&mut instances);
    sort(&mut instances);
    Ok(PlacedGroup {
        name: group.name.clone(),
        instances,
        obsolete: matched.obsolete,
    })
}

/// Whether VMs of the group can be replaced by others beside them: not with addresses that only one can have.
pub(super) fn uses_create_swap_delete(group: &InstanceGroup) -> bool {
    let tied = |network: &crate::manifest::resolved::GroupNetwork| {
        network.network.kind == NetworkKind::Vip
            || network
                .static_ips
                .as_ref()
                .is_some_and(|ips| !ips.is_empty())
    };
    group.update.vm_strategy == VmStrategy::CreateSwapDelete && !group.networks.iter().any(tied)
}

fn wanted_by(group: &InstanceGroup, slot: &StaticSlot) -> Vec<Wanted> {
    group
        .networks
        .iter()
        .enumerate()
        .filter(|(_, network)| network.network.kind != NetworkKind::Vip)
        .map(|(position, network)| match slot.ips.get(&position) {
            Some(block) => Wanted::fixed(network, *block),
            None => Wanted::dynamic(network),
        })
        .collect()
}

fn state_of(group: &InstanceGroup, existing: Option<&Instance>) -> State {
    let Some(existing) = existing else {
        return State::Started;
    };
    group
        .instance_states
        .get(&existing.uuid)
        .or_else(|| group.instance_states.get(&existing.index.to_string()))
        .copied()
        .or(group.state)
        .unwrap_or(existing.state)
}

fn elect_bootstrap(instances: &mut [PlacedInstance]) {
    if instances
        .iter()
        .filter(|instance| instance.bootstrap)
        .count()
        == 1
    {
        return;
    }
    let lowest = instances.iter().map(|instance| instance.index).min();
    for instance in instances {
        instance.bootstrap = Some(instance.index) == lowest;
    }
}

/// The order in which instances are updated: the bootstrap instance, the others of its zone, those without a zone,
/// then zone after zone.
fn sort(instances: &mut [PlacedInstance]) {
    let bootstrap = instances.iter().find(|instance| instance.bootstrap);
    let first = bootstrap.map(|instance| instance.az.clone());
    instances.sort_by(|a, b| {
        let key = |instance: &PlacedInstance| {
            (
                !instance.bootstrap,
                Some(&instance.az) != first.as_ref(),
                instance.az.clone(),
                instance.uuid.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
}
