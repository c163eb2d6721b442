//! Comparing what an instance has with what it should have.
//!
//! Upstream: deployment_plan/instance_plan.rb.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::current::{Current, Instance};
use super::placement::PlacedInstance;
use crate::manifest::resolved::{Az, Desired};
use crate::manifest::{InstanceGroup, State, catalog};
use crate::variables::Values;
use crate::variables::interpolate::{Rules, interpolate};

/// Whether two documents differ once each is filled in with its own values. What cannot be filled in differs.
pub(super) fn differ(
    old: &Value,
    old_values: Option<&Values>,
    new: &Value,
    new_values: &Values,
) -> bool {
    let nothing = Values::default();
    let old = interpolate(old, old_values.unwrap_or(&nothing), Rules::default());
    let new = interpolate(new, new_values, Rules::default());
    match (old, new) {
        (Ok(old), Ok(new)) => old != new,
        _ => true,
    }
}

fn object(map: &Map<String, Value>) -> Value {
    Value::Object(map.clone())
}

/// Whether its VM has to be replaced for other reasons than its addresses.
/// Upstream: `recreate_for_non_network_reasons?`.
pub(super) fn vm_must_go(
    group: &InstanceGroup,
    az: Option<&Az>,
    placed: &PlacedInstance,
    instance: &Instance,
    desired: &Desired,
    current: &Current,
    values: &Values,
) -> bool {
    recreation_requested(placed, instance, desired)
        || stemcell_differs(&stemcell_for(group, &placed.cpi), instance)
        || env_differs(group, instance)
        || cloud_properties_differ(&group.cloud_properties(az), instance, current, values)
}

/// The stemcell for a CPI; the first one if none was uploaded for it.
pub(super) fn stemcell_for(group: &InstanceGroup, cpi: &str) -> catalog::Stemcell {
    group
        .stemcell
        .for_cpi(cpi)
        .or_else(|| group.stemcell.candidates.first())
        .cloned()
        .unwrap_or_default()
}

/// Whether the operator asked for a new VM, or the agent does not answer.
pub(super) fn recreation_requested(
    placed: &PlacedInstance,
    instance: &Instance,
    desired: &Desired,
) -> bool {
    if is_unresponsive(instance) {
        return true;
    }
    if !desired.options.recreate && placed.state != State::Recreate {
        return false;
    }
    let Some(threshold) = &desired.options.recreate_vms_created_before else {
        return true;
    };
    if !instance.update_completed {
        return true;
    }
    let made = instance.vm.as_ref().and_then(|vm| vm.created_at);
    match (made, OffsetDateTime::parse(threshold, &Rfc3339)) {
        (Some(made), Ok(threshold)) => made < threshold,
        _ => true,
    }
}

/// Whether its agent was asked and did not answer.
pub(super) fn is_unresponsive(instance: &Instance) -> bool {
    instance
        .agent
        .as_ref()
        .is_some_and(|agent| agent.job_state == "unresponsive")
}

/// Whether the stemcell in its spec is another one.
pub(super) fn stemcell_differs(stemcell: &catalog::Stemcell, instance: &Instance) -> bool {
    let present = |key: &str| {
        let stemcell = instance.spec.get("stemcell")?;
        stemcell.get(key)?.as_str()
    };
    present("name").is_some_and(|name| name != stemcell.name)
        || present("version").is_some_and(|version| version != stemcell.version)
}

/// Whether its VM was made with another environment.
pub(super) fn env_differs(group: &InstanceGroup, instance: &Instance) -> bool {
    let present = instance.vm.as_ref().and_then(|vm| vm.env.as_ref());
    present.is_some_and(|env| *env != group.env)
}

/// Whether its VM was made with other cloud properties.
pub(super) fn cloud_properties_differ(
    wanted: &Map<String, Value>,
    instance: &Instance,
    current: &Current,
    values: &Values,
) -> bool {
    differ(
        &object(&instance.cloud_properties),
        current.variable_sets.get(&instance.variable_set),
        &object(wanted),
        values,
    )
}
