//! Spreading instances over zones, and matching them with those there are.
//!
//! Instances keep their zones as long as those are wanted; ignored ones and those with persistent disks come
//! first, the others fill the zones with the fewest, zones that have instances being preferred.
//!
//! Upstream: placement_planner/{availability_zone_picker,balancer,unplaced_existing_instances}.rb.

use std::sync::Arc;

use super::current::Instance;
use crate::manifest::resolved::Az;
use crate::manifest::{Error, InstanceGroup, Kind};

/// An instance that should be, before it has addresses.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    /// Its zone.
    pub(super) az: Option<Arc<Az>>,
    /// Its present self: index into the deployment's instances.
    pub(super) existing: Option<usize>,
}

/// What became of the existing instances.
#[derive(Debug, Clone, Default)]
pub(super) struct Matched {
    /// Instances that should be, existing ones first.
    pub(super) slots: Vec<Slot>,
    /// Instances that should not be.
    pub(super) obsolete: Vec<usize>,
}

/// Picks among zones that have equally few instances. Gets the candidates, returns an index into them.
pub(super) type Tie<'a> = &'a mut dyn FnMut(&[&Arc<Az>]) -> usize;

/// Places the instances of a group without static addresses. `existing` is sorted by index.
pub(super) fn place(
    group: &InstanceGroup,
    existing: &[(usize, &Instance)],
    tie: Tie<'_>,
) -> Result<Matched, Error> {
    let wanted = usize::try_from(group.instances).unwrap_or(usize::MAX);
    check_ignored(group, existing, wanted)?;
    let mut unplaced: Vec<(usize, &Instance)> = existing.to_vec();
    let mut azs: Vec<&Arc<Az>> = group.azs.iter().collect();
    azs.sort_by_key(|az| std::cmp::Reverse(count_in(&unplaced, Some(az.name.as_str()))));
    let mut weights: Vec<usize> = vec![0; azs.len()];
    let mut kept = Vec::new();
    let mut remaining = wanted;

    let mut claim = |index: usize,
                     unplaced: &mut Vec<(usize, &Instance)>,
                     az: Option<usize>,
                     weights: &mut Vec<usize>| {
        unplaced.retain(|(other, _)| *other != index);
        if let Some(az) = az {
            weights[az] += 1;
        }
        kept.push(Slot {
            az: az.map(|az| Arc::clone(azs[az])),
            existing: Some(index),
        });
    };
    let zone_of = |instance: &Instance| {
        azs.iter()
            .position(|az| Some(&az.name) == instance.az.as_ref())
    };

    let ignored: Vec<(usize, &Instance)> = unplaced
        .iter()
        .filter(|(_, instance)| instance.ignore)
        .copied()
        .collect();
    for (index, instance) in ignored {
        if remaining == 0 {
            break;
        }
        claim(index, &mut unplaced, zone_of(instance), &mut weights);
        remaining -= 1;
    }
    if !azs.is_empty() {
        let with_disks: Vec<(usize, &Instance)> = unplaced
            .iter()
            .filter(|(_, instance)| !instance.disks.is_empty())
            .copied()
            .collect();
        for (index, instance) in with_disks {
            if remaining == 0 {
                break;
            }
            if let Some(az) = zone_of(instance) {
                claim(index, &mut unplaced, Some(az), &mut weights);
                remaining -= 1;
            }
        }
    }
    let mut new = Vec::new();
    // Zones of instances not yet claimed: filling those keeps instances where they are.
    let mut preferred: Vec<String> = unplaced
        .iter()
        .filter_map(|(_, instance)| instance.az.clone())
        .collect();
    for _ in 0..remaining {
        let az = pick(&azs, &weights, &preferred, tie);
        let name = az.map(|az| azs[az].name.clone());
        if let Some(at) = preferred
            .iter()
            .position(|other| Some(other) == name.as_ref())
        {
            preferred.remove(at);
        }
        match unplaced.iter().find(|(_, instance)| instance.az == name) {
            Some((index, _)) => claim(*index, &mut unplaced, az, &mut weights),
            None => {
                if let Some(az) = az {
                    weights[az] += 1;
                }
                new.push(Slot {
                    az: az.map(|az| Arc::clone(azs[az])),
                    existing: None,
                });
            }
        }
    }
    kept.extend(new);
    Ok(Matched {
        slots: kept,
        obsolete: unplaced.into_iter().map(|(index, _)| index).collect(),
    })
}

fn count_in(instances: &[(usize, &Instance)], az: Option<&str>) -> usize {
    instances
        .iter()
        .filter(|(_, instance)| instance.az.as_deref() == az)
        .count()
}

fn pick(azs: &[&Arc<Az>], weights: &[usize], preferred: &[String], tie: Tie<'_>) -> Option<usize> {
    let least = weights.iter().min()?;
    let fewest: Vec<usize> = (0..azs.len()).filter(|az| weights[*az] == *least).collect();
    if let [one] = fewest.as_slice() {
        return Some(*one);
    }
    fewest
        .iter()
        .find(|az| preferred.contains(&azs[**az].name))
        .copied()
        .or_else(|| {
            let candidates: Vec<&Arc<Az>> = fewest.iter().map(|az| azs[*az]).collect();
            fewest.get(tie(&candidates)).copied()
        })
}

/// The zone that comes first by name: what upstream picks unless told to pick at random.
pub(super) fn first_by_name(candidates: &[&Arc<Az>]) -> usize {
    (0..candidates.len())
        .min_by_key(|index| &candidates[*index].name)
        .unwrap_or(0)
}

/// What holds for every group with ignored instances.
pub(super) fn check_ignored_networks(
    group: &InstanceGroup,
    existing: &[(usize, &Instance)],
) -> Result<(), Error> {
    for (_, instance) in existing.iter().filter(|(_, instance)| instance.ignore) {
        let mut wanted: Vec<&str> = group
            .networks
            .iter()
            .map(|network| network.network.name.as_str())
            .collect();
        let mut present: Vec<&str> = instance.ips.iter().map(|ip| ip.network.as_str()).collect();
        for names in [&mut wanted, &mut present] {
            names.sort_unstable();
            names.dedup();
        }
        if wanted != present {
            return Err(Error::new(
                Kind::DeploymentIgnoredInstancesModification,
                format!(
                    "In instance group '{}', which contains ignored vms, an attempt was made to modify the networks. \
                     This operation is not allowed.",
                    instance.group
                ),
            ));
        }
    }
    Ok(())
}

fn check_ignored(
    group: &InstanceGroup,
    existing: &[(usize, &Instance)],
    wanted: usize,
) -> Result<(), Error> {
    check_ignored_networks(group, existing)?;
    let ignored: Vec<&Instance> = existing
        .iter()
        .filter(|(_, instance)| instance.ignore)
        .map(|(_, instance)| *instance)
        .collect();
    let Some(first) = ignored.first() else {
        return Ok(());
    };
    if ignored.len() > wanted {
        return Err(Error::new(
            Kind::DeploymentIgnoredInstancesModification,
            format!(
                "Instance Group '{}' has {} ignored instance(s). {wanted} instance(s) of that instance group were requested. \
                 Deleting ignored instances is not allowed.",
                first.group,
                ignored.len()
            ),
        ));
    }
    let mut lost: Vec<String> = Vec::new();
    for instance in &ignored {
        if let Some(az) = &instance.az
            && !group.azs.iter().any(|wanted| wanted.name == *az)
        {
            let quoted = format!("\"{az}\"");
            if !lost.contains(&quoted) {
                lost.push(quoted);
            }
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::DeploymentIgnoredInstancesModification,
        format!(
            "Instance Group '{}' no longer contains AZs [{}] where ignored instance(s) exist.",
            first.group,
            lost.join(", ")
        ),
    ))
}
