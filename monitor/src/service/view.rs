//! What the status page and the metrics show: plain data, taken in one go and turned into text elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::attention::Lapses;
use crate::intake::Tally;
use crate::lease::Standing;
use crate::registry::{Agent, Counts, Deployment, Id, JobState, Reading, Sample, Vitals};

/// How everything is.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Seconds since the epoch.
    pub time: i64,
    /// `leader`, `follower` or `undecided`, see [`Standing`].
    pub standing: &'static str,
    /// Whether no other monitor was ever heard on this bus.
    pub alone: bool,
    /// Whether the bus is there.
    pub connected: bool,
    /// Seconds since the director was last heard; `null` before.
    pub sync_age: Option<f64>,
    /// Why the director could not be asked the last time, if so.
    pub director_error: Option<String>,
    /// How far behind the reading of messages is, in seconds.
    pub lag: f64,
    /// All agents.
    pub agents: usize,
    /// Those that no deployment has.
    pub unmanaged: usize,
    /// Heartbeats received.
    pub heartbeats: u64,
    /// Alerts given to the plugins, or left to another monitor.
    pub alerts: u64,
    /// Messages refused.
    pub refused: u64,
    /// Whether there is a mass outage.
    pub outage: bool,
    /// All deployments.
    pub deployments: Vec<Line>,
}

/// A deployment in an [`Overview`].
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Its name.
    pub name: Arc<str>,
    /// Its teams.
    pub teams: Arc<[String]>,
    /// Whether a task is changing it.
    pub locked: bool,
    /// How many instances it has.
    pub instances: usize,
    /// How many of them ought to have a VM and have none.
    pub missing_vms: usize,
    /// Its agents.
    pub agents: usize,
    /// Those that are silent.
    pub unresponsive: usize,
    /// Those that run and supervise nothing.
    pub unhealthy: usize,
    /// Those whose jobs fail.
    pub failing: usize,
    /// Those whose jobs are stopped.
    pub stopped: usize,
    /// Those that have not said how their jobs are.
    pub unknown: usize,
}

impl Line {
    pub(super) fn new(deployment: &Deployment, counts: Counts) -> Self {
        let instances = &deployment.instances;
        Self {
            name: deployment.name.clone(),
            teams: deployment.teams.clone(),
            locked: deployment.locked,
            instances: instances.len(),
            missing_vms: instances.iter().filter(|of| of.misses_vm()).count(),
            agents: counts.agents,
            unresponsive: counts.unresponsive,
            unhealthy: counts.unhealthy,
            failing: counts.failing,
            stopped: counts.stopped,
            unknown: counts.unknown,
        }
    }
}

/// How many instances of a deployment are shown at the most.
pub const SHOWN: usize = 1000;

/// The instances of a deployment.
#[derive(Clone, Debug, Serialize)]
pub struct Instances {
    /// The deployment.
    pub deployment: Arc<str>,
    /// How many there are.
    pub total: usize,
    /// The first [`SHOWN`] of them.
    pub instances: Vec<Seen>,
}

/// An instance in [`Instances`].
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Its UUID.
    pub id: String,
    /// Its instance group.
    pub job: Option<Arc<str>>,
    /// Its index in the group.
    pub index: Option<u32>,
    /// Its availability zone.
    pub az: Option<Arc<str>>,
    /// The CID of its VM.
    pub cid: Option<Box<str>>,
    /// Its agent.
    pub agent_id: Option<String>,
    /// `running` and so on; `silent` where the agent is, `no vm` where there ought to be one.
    pub state: &'static str,
    /// How many processes it supervises.
    pub processes: Option<u32>,
    /// For how many seconds the agent has been silent.
    pub silence: Option<u64>,
    /// Load of one minute.
    pub load: Option<f64>,
    /// CPU in use, in per cent.
    pub cpu: Option<f64>,
    /// Memory in use, in per cent.
    pub memory: Option<f64>,
    /// Swap in use, in per cent.
    pub swap: Option<f64>,
    /// Root, ephemeral and persistent disk in use, in per cent.
    pub disks: [Option<f64>; 3],
    /// CPU, memory and fullest disk over the last half hour, a sample a minute.
    pub history: Vec<Sample>,
}

impl Seen {
    pub(super) fn new(
        instance: &crate::registry::Instance,
        agent: Option<(&Agent, Duration, bool)>,
    ) -> Self {
        let (known, silence, timed_out) = match agent {
            Some((agent, silence, timed_out)) => (Some(agent), Some(silence), timed_out),
            None => (None, None, false),
        };
        let detail = known.and_then(Agent::detail);
        let of = |reading| detail.and_then(|detail| detail.vitals.get(reading));
        let state = match known {
            _ if instance.misses_vm() => "no vm",
            Some(_) if timed_out => "silent",
            Some(agent) => agent.job_state().name(),
            None => "-",
        };
        Self {
            id: instance.id.to_string(),
            job: instance.job.clone(),
            index: instance.index,
            az: instance.az.clone(),
            cid: instance.cid.clone(),
            agent_id: instance.agent_id.as_ref().map(Id::to_string),
            state,
            processes: known.and_then(Agent::processes),
            silence: silence.map(|silence| silence.as_secs()),
            load: of(Reading::Load1),
            cpu: detail.and_then(|detail| detail.vitals.cpu()),
            memory: of(Reading::MemPercent),
            swap: of(Reading::SwapPercent),
            disks: [
                of(Reading::SystemPercent),
                of(Reading::EphemeralPercent),
                of(Reading::PersistentPercent),
            ],
            history: detail.map_or_else(Vec::new, |detail| detail.history.samples().collect()),
        }
    }
}

/// What the metrics are made of.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// How everything is.
    pub overview: Overview,
    /// The monitor's standing.
    pub standing: Standing,
    /// Messages by kind.
    pub tally: Tally,
    /// What kept the monitor from listening.
    pub lapses: Lapses,
    /// Alerts that wait for a monitor to lead.
    pub kept: usize,
    /// Event ids that are remembered.
    pub remembered: usize,
    /// Alerts so far.
    pub alerts: AlertCounts,
    /// How long the last sync took, in seconds.
    pub sync_seconds: Option<f64>,
    /// Syncs that worked, and that did not.
    pub syncs: (u64, u64),
    /// How long the last analysis took, in seconds.
    pub analysis_seconds: Option<f64>,
    /// The instances that have series of their own.
    pub instances: Vec<Vital>,
    /// How many instances have none, because there are too many.
    pub omitted: usize,
}

/// An instance in a [`Sheet`].
#[derive(Clone, Debug)]
pub struct Vital {
    /// Its deployment.
    pub deployment: Arc<str>,
    /// Its UUID.
    pub id: Id,
    /// Its instance group.
    pub job: Option<Arc<str>>,
    /// Its index in the group.
    pub index: Option<u32>,
    /// Its availability zone.
    pub az: Option<Arc<str>>,
    /// Whether its agent speaks.
    pub responsive: bool,
    /// For how long it has not.
    pub silence: Duration,
    /// How its jobs are.
    pub job_state: JobState,
    /// How many processes it supervises.
    pub processes: Option<u32>,
    /// Its numbers.
    pub vitals: Vitals,
}

/// How many series there are of deployments' and processes' alerts at the most.
const SERIES: usize = 2000;

/// Alerts so far, by what they are about.
#[derive(Clone, Debug, Default)]
pub struct AlertCounts {
    /// (deployment, severity) -> count. Without deployment: of the monitor or of nobody known.
    pub deployments: BTreeMap<(Option<Arc<str>>, u64), u64>,
    /// (deployment, instance group, process, event) -> count, of what agents say of their processes.
    pub processes: BTreeMap<[Arc<str>; 4], u64>,
    /// Alerts that have no series of their own, because there are too many.
    pub omitted: u64,
}

impl AlertCounts {
    /// Counts an alert of a deployment, or of none.
    pub fn count(&mut self, deployment: Option<&str>, severity: u64) {
        // Severities that upstream has no name for are one.
        let severity = if (1..=4).contains(&severity) {
            severity
        } else {
            5
        };
        let key = (deployment.map(Arc::from), severity);
        bump(&mut self.deployments, key, &mut self.omitted);
    }

    /// Counts what an agent says of a process: `SERVICE - EVENT - ACTION` is what upstream's agent makes of monit's words.
    pub fn process(&mut self, deployment: &str, job: &str, title: &str) {
        let mut parts = title.split(" - ");
        let (Some(service), Some(event), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        // `redis (10.0.0.1)`
        let service = service.split(" (").next().unwrap_or(service);
        if service.len().max(event.len()) > 100 {
            return;
        }
        let key = [deployment, job, service, event].map(Arc::from);
        bump(&mut self.processes, key, &mut self.omitted);
    }
}

fn bump<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, omitted: &mut u64) {
    let full = counts.len() >= SERIES;
    match counts.get_mut(&key) {
        Some(count) => *count += 1,
        None if full => *omitted += 1,
        None => _ = counts.insert(key, 1),
    }
}
