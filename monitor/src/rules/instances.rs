//! Instances that ought to have a VM and have none.

use super::{CRITICAL, Jobs, aggregate, member, vm};
use crate::event::Alert;
use crate::registry::Registry;

/// What an analysis found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What to tell people and the director.
    pub alerts: Vec<Alert>,
    /// What is so too, in deployments that a task is changing.
    pub known: Vec<Alert>,
    /// How many instances were looked at.
    pub analyzed: usize,
}

/// Looks for them. Deployments that a task is changing are left alone.
pub fn analyze(registry: &Registry, wall: i64) -> Findings {
    let mut findings = Findings::default();
    for deployment in registry.deployments() {
        let name = &*deployment.name;
        let alerts = if deployment.locked {
            &mut findings.known
        } else {
            findings.analyzed += deployment.instances.len();
            &mut findings.alerts
        };
        let mut jobs = Jobs::new();
        for instance in deployment.instances.iter().filter(|of| of.misses_vm()) {
            let alert = Alert {
                key: Some(format!("instances/{name}/{}", instance.id)),
                ..Alert::new(CRITICAL, format!("{} has no VM", instance.id), wall)
            };
            alerts.push(vm(alert, deployment, instance, instance.name(name)));
            member(&mut jobs, instance);
        }
        if !jobs.is_empty() {
            let title = format!("{name} has instances which do not have VMs");
            alerts.push(Alert {
                key: Some(format!("instances/{name}")),
                ..aggregate(name, title, jobs, wall)
            });
        }
    }
    findings
}
