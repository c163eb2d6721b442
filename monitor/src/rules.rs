//! What the registry's state means: (state, now) -> alerts. Pure. Source: upstream's instance_manager.rb.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::config::Intervals;
use crate::event::{Alert, Category};
use crate::registry::{Agent, Instance, Registry};

/// What an analysis found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What to tell people and the director.
    pub alerts: Vec<Alert>,
    /// Strangers that fell silent: nobody misses them.
    pub forget: Vec<String>,
}

/// Looks for agents that are silent or belong nowhere. Deployments that a task is changing are left alone.
pub fn agents(registry: &Registry, intervals: &Intervals, now: Instant, wall: i64) -> Findings {
    let mut findings = Findings::default();
    let mut silent: BTreeMap<&str, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    let locked = |agent: &Agent| {
        let place = agent.instance.as_ref();
        place
            .and_then(|place| registry.deployments().get(&place.deployment))
            .is_some_and(|deployment| deployment.locked)
    };
    for (id, agent) in registry.agents().filter(|(_, agent)| !locked(agent)) {
        let (timed_out, rogue) = (
            agent.timed_out(now, intervals.agent_timeout),
            agent.rogue(now, intervals.rogue_agent_alert),
        );
        if timed_out && rogue {
            findings.forget.push(id.to_owned());
            continue;
        }
        if rogue {
            let alert = Alert::new(2, format!("{id} is not a part of any deployment"), wall);
            findings.alerts.push(Alert {
                source: Some(agent.name(id, registry)),
                ..alert
            });
        }
        if timed_out && let Some((deployment, instance)) = registry.instance(agent) {
            let alert = Alert::new(2, format!("{id} has timed out"), wall);
            findings
                .alerts
                .push(about(alert, deployment, instance, agent.name(id, registry)));
            let job = instance.job.as_deref().unwrap_or_default().to_owned();
            silent
                .entry(deployment)
                .or_default()
                .entry(job)
                .or_default()
                .push(instance.id.to_string());
        }
    }
    let title = |name: &str| format!("{name} has instances with timed out agents");
    findings.alerts.extend(
        silent
            .into_iter()
            .map(|(name, jobs)| aggregate(name, title(name), jobs, wall)),
    );
    findings
}

/// Looks for instances that ought to have a VM and have none.
pub fn instances(registry: &Registry, wall: i64) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for (name, deployment) in registry
        .deployments()
        .iter()
        .filter(|(_, deployment)| !deployment.locked)
    {
        let mut jobs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for instance in deployment
            .instances
            .values()
            .filter(|instance| instance.expects_vm && instance.cid.is_none())
        {
            let alert = Alert::new(2, format!("{} has no VM", instance.id), wall);
            alerts.push(about(alert, name, instance, instance.name(name)));
            jobs.entry(instance.job.as_deref().unwrap_or_default().to_owned())
                .or_default()
                .push(instance.id.to_string());
        }
        if !jobs.is_empty() {
            alerts.push(aggregate(
                name,
                format!("{name} has instances which do not have VMs"),
                jobs,
                wall,
            ));
        }
    }
    alerts
}

fn about(alert: Alert, deployment: &str, instance: &Instance, source: String) -> Alert {
    Alert {
        category: Some(Category::VmHealth),
        source: Some(source),
        deployment: Some(deployment.to_owned()),
        job: instance.job.as_deref().map(str::to_owned),
        instance_id: Some(instance.id.to_string()),
        ..alert
    }
}

/// The alert that the resurrector acts on.
fn aggregate(
    deployment: &str,
    title: String,
    mut jobs: BTreeMap<String, Vec<String>>,
    wall: i64,
) -> Alert {
    jobs.values_mut().for_each(|instances| instances.sort());
    Alert {
        category: Some(Category::DeploymentHealth),
        source: Some(deployment.to_owned()),
        deployment: Some(deployment.to_owned()),
        jobs_to_instance_ids: jobs,
        ..Alert::new(2, title, wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::Told;
    use std::path::Path;
    use std::time::Duration;

    fn intervals() -> Intervals {
        let text = "mbus: {endpoint: x, server_ca_path: x, client_certificate_path: x, client_private_key_path: x}\ndirector: {endpoint: x}";
        Config::parse(Path::new("hm.yml"), text).unwrap().intervals
    }

    fn registry(locked: bool, cid: Option<&str>, now: Instant) -> Registry {
        let mut registry = Registry::default();
        let instance = Instance {
            id: "i".into(),
            agent_id: cid.map(|_| "a".into()),
            job: Some("web".into()),
            index: Some(0),
            cid: cid.map(Into::into),
            expects_vm: true,
        };
        registry.sync(
            vec![Told {
                name: "d".into(),
                teams: vec![],
                locked,
                instances: Some(vec![instance]),
            }],
            now,
        );
        registry
    }

    fn titles(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.title.as_str()).collect()
    }

    #[test]
    fn a_silent_agent_is_one_alert_and_one_for_its_deployment() {
        let now = Instant::now();
        let registry = registry(false, Some("vm"), now);
        let at = |seconds| {
            agents(
                &registry,
                &intervals(),
                now + Duration::from_secs(seconds),
                0,
            )
        };
        assert!(at(60).alerts.is_empty());
        let found = at(61).alerts;
        assert_eq!(
            titles(&found),
            ["a has timed out", "d has instances with timed out agents"]
        );
        assert_eq!(
            found[1].jobs_to_instance_ids,
            BTreeMap::from([("web".to_owned(), vec!["i".to_owned()])])
        );
    }

    #[test]
    fn a_locked_deployment_is_left_alone() {
        let now = Instant::now();
        assert!(
            agents(
                &registry(true, Some("vm"), now),
                &intervals(),
                now + Duration::from_secs(999),
                0
            )
            .alerts
            .is_empty()
        );
        assert!(instances(&registry(true, None, now), 0).is_empty());
    }

    #[test]
    fn an_instance_without_its_vm_is_missed() {
        let found = instances(&registry(false, None, Instant::now()), 0);
        assert_eq!(
            titles(&found),
            ["i has no VM", "d has instances which do not have VMs"]
        );
    }

    #[test]
    fn a_stranger_is_reported_while_it_speaks_and_forgotten_when_it_falls_silent() {
        let now = Instant::now();
        let mut registry = Registry::default();
        registry.heard("x", now);
        let late = now + Duration::from_secs(121);
        assert_eq!(agents(&registry, &intervals(), late, 0).forget, ["x"]);
        registry.heartbeat("x", b"{}", late, 0, false).unwrap();
        assert_eq!(
            titles(&agents(&registry, &intervals(), late, 0).alerts),
            ["x is not a part of any deployment"]
        );
    }
}
