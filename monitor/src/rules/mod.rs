//! What the registry's state means: (state, now) -> (state', alerts). Pure. Source: upstream's instance_manager.rb.
//!
//! - [`agents`]: who is silent, and who belongs nowhere;
//! - [`instances`]: what has no VM;
//! - [`outage`]: when so many fall silent at once that it is one thing, not many;
//! - [`about`]: the monitor's own troubles.
//!
//! Every alert has a key, the same over all repeats: `agents/ID`, `agents/deployment/NAME`, `rogue/ID`,
//! `instances/DEPLOYMENT/ID`, `instances/DEPLOYMENT`, `outage/mass`, `director/unreachable`, `bus/disconnected`.

pub mod about;
pub mod agents;
pub mod instances;
pub mod outage;
#[cfg(test)]
mod tests;

pub use agents::{Findings, Moment};

use std::collections::BTreeMap;

use crate::event::{Alert, Category};
use crate::registry::{Deployment, Instance};

/// The severity of what the monitor finds, upstream's `critical`.
const CRITICAL: u64 = 2;

/// Instance group -> instances.
type Jobs = BTreeMap<String, Vec<String>>;

/// An alert about one VM.
fn vm(alert: Alert, deployment: &Deployment, instance: &Instance, source: String) -> Alert {
    Alert {
        category: Some(Category::VmHealth),
        source: Some(source),
        deployment: Some(deployment.name.to_string()),
        job: instance.job.as_deref().map(str::to_owned),
        instance_id: Some(instance.id.to_string()),
        ..alert
    }
}

/// The alert that the resurrector acts on.
fn aggregate(deployment: &str, title: String, jobs: Jobs, wall: i64) -> Alert {
    Alert {
        category: Some(Category::DeploymentHealth),
        source: Some(deployment.to_owned()),
        deployment: Some(deployment.to_owned()),
        jobs_to_instance_ids: jobs,
        ..Alert::new(CRITICAL, title, wall)
    }
}

fn member(jobs: &mut Jobs, instance: &Instance) {
    let job = instance.job.as_deref().unwrap_or_default().to_owned();
    jobs.entry(job).or_default().push(instance.id.to_string());
}
