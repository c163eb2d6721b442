//! Agents that are silent, and agents that belong nowhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::outage::{self, Outage, Toll};
use super::{CRITICAL, Jobs, aggregate, member, vm};
use crate::config::Intervals;
use crate::event::Alert;
use crate::registry::{Agent, Id, Registry};

/// The time of an analysis.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// On the clock that never jumps.
    pub now: Instant,
    /// In seconds since the epoch, for people.
    pub wall: i64,
    /// When the director was last asked; `None` before the first answer or failure. An agent is only reported silent once
    /// the director has been asked since: its VM may be on its way out.
    pub asked: Option<Instant>,
}

/// What an analysis found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What to tell people and the director.
    pub alerts: Vec<Alert>,
    /// What is so too, but not told: it is in a deployment that a task is changing, or it is part of an outage that has
    /// been told. Nothing of it has ended.
    pub known: Vec<Alert>,
    /// Strangers that fell silent: nobody misses them.
    pub forget: Vec<Id>,
    /// Whether the director has to be asked before more can be said.
    pub ask: bool,
    /// The mass outage that is on, if one is.
    pub outage: Option<Outage>,
    /// How many agents were looked at.
    pub analyzed: usize,
}

/// Looks for agents that are silent or belong nowhere. Deployments that a task is changing are left alone.
pub fn analyze(
    registry: &Registry,
    intervals: &Intervals,
    limits: &outage::Limits,
    before: Option<&Outage>,
    moment: Moment,
) -> Findings {
    let Moment { now, wall, asked } = moment;
    let mut findings = Findings::default();
    let mut silent: Vec<(&Id, &Agent)> = Vec::new();
    let mut locked: Vec<(&Id, &Agent)> = Vec::new();
    let mut toll = Toll::new(registry, intervals.agent_timeout, before, now);
    for (id, agent) in registry.agents() {
        let timed_out = registry.timed_out(agent, now, intervals.agent_timeout);
        let Some((deployment, _)) = registry.instance(agent) else {
            findings.analyzed += 1;
            stranger(registry, intervals, (id, agent), moment, &mut findings);
            continue;
        };
        if deployment.locked {
            if timed_out {
                locked.push((id, agent));
            }
            continue;
        }
        findings.analyzed += 1;
        toll.count(registry, agent, now);
        if timed_out {
            let since = registry.overdue_since(agent, intervals.agent_timeout);
            if asked.is_some_and(|asked| asked >= since) {
                silent.push((id, agent));
            } else {
                findings.ask = true;
            }
        }
    }
    findings.outage = outage::judge(limits, before, &toll, !silent.is_empty(), now);
    if let Some(outage) = &mut findings.outage {
        silent.retain(|(_, agent)| !outage.covers(registry, agent, now));
        let alert = outage::alert(outage, &toll, wall);
        if std::mem::replace(&mut outage.told, true) {
            findings.known.push(alert);
        } else {
            findings.alerts.push(alert);
        }
    }
    report(registry, silent, wall, &mut findings.alerts);
    report(registry, locked, wall, &mut findings.known);
    findings
}

fn stranger(
    registry: &Registry,
    intervals: &Intervals,
    (id, agent): (&Id, &Agent),
    moment: Moment,
    findings: &mut Findings,
) {
    let Moment { now, wall, .. } = moment;
    if !registry.unclaimed(agent, now, intervals.rogue_agent_alert) {
        return;
    }
    if registry.timed_out(agent, now, intervals.agent_timeout) {
        findings.forget.push(id.clone());
    } else if registry.disowned(agent) {
        let title = format!("{id} is not a part of any deployment");
        findings.alerts.push(Alert {
            source: Some(registry.name(id, agent)),
            key: Some(format!("rogue/{id}")),
            ..Alert::new(CRITICAL, title, wall)
        });
    }
}

/// Alerts about silent agents, and one for each of their deployments.
fn report(registry: &Registry, mut silent: Vec<(&Id, &Agent)>, wall: i64, alerts: &mut Vec<Alert>) {
    // In the director's order.
    silent.sort_by_key(|(_, agent)| agent.place());
    let mut deployments: BTreeMap<u32, Jobs> = BTreeMap::new();
    for (id, agent) in silent {
        let (Some((deployment, instance)), Some(place)) = (registry.instance(agent), agent.place())
        else {
            continue;
        };
        let alert = Alert {
            key: Some(format!("agents/{id}")),
            ..Alert::new(CRITICAL, format!("{id} has timed out"), wall)
        };
        alerts.push(vm(alert, deployment, instance, registry.name(id, agent)));
        let (at, _) = place.order();
        member(deployments.entry(at).or_default(), instance);
    }
    for (at, jobs) in deployments {
        let Some(deployment) = registry.deployments().get(at as usize) else {
            continue;
        };
        let name = &*deployment.name;
        let title = format!("{name} has instances with timed out agents");
        alerts.push(Alert {
            key: Some(format!("agents/deployment/{name}")),
            ..aggregate(name, title, jobs, wall)
        });
    }
}

/// The silence from which on an agent is late, so that an outage is known before everyone's time is up. Agents speak
/// every 30 seconds or so; upstream's timeout is 60.
pub(super) fn late(timeout: Duration) -> Duration {
    timeout.mul_f64(0.75)
}
