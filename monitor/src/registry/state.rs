//! The registry itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Agent, Deployment, Id, Instance, JobState, Place, SAMPLE_EVERY, Told};
use crate::event::Heartbeat;
use crate::intake::{Beat, Refusal, Timestamp, message};

/// The most agents without deployment that are kept: a bus that is flooded with invented ids takes no more memory.
const MAX_UNMANAGED: usize = 100_000;

/// All deployments, instances and agents.
#[derive(Debug)]
pub struct Registry {
    /// What agents' times count from.
    epoch: Instant,
    deployments: Vec<Deployment>,
    agents: HashMap<Id, Agent>,
    unmanaged: usize,
    /// Whether the director has been heard once; until then nothing is known to be missing.
    synced: bool,
    /// When the last sync began that named every deployment and its instances.
    complete: Option<u64>,
}

/// How the agents are, by deployment and all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Agents of the deployment.
    pub agents: usize,
    /// Those that have been silent for too long.
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

impl Registry {
    /// An empty one, for times from `epoch` on.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            deployments: Vec::new(),
            agents: HashMap::new(),
            unmanaged: 0,
            synced: false,
            complete: None,
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_millis() as u64
    }

    /// Whether the director has been heard once.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// The deployments in the director's order.
    pub fn deployments(&self) -> &[Deployment] {
        &self.deployments
    }

    /// A deployment by name.
    pub fn deployment(&self, name: &str) -> Option<&Deployment> {
        self.deployments
            .iter()
            .find(|deployment| &*deployment.name == name)
    }

    /// An agent by id.
    pub fn agent(&self, id: &Id) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// All agents, managed or not.
    pub fn agents(&self) -> impl Iterator<Item = (&Id, &Agent)> {
        self.agents.iter()
    }

    /// How many agents there are, managed or not.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there is no agent.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// How many agents no deployment has.
    pub fn unmanaged(&self) -> usize {
        self.unmanaged
    }

    /// The instance an agent belongs to.
    pub fn instance(&self, agent: &Agent) -> Option<(&Deployment, &Instance)> {
        let place = agent.place?;
        let deployment = self.deployments.get(place.deployment as usize)?;
        Some((
            deployment,
            deployment.instances.get(place.instance as usize)?,
        ))
    }

    /// For how long an agent has been silent.
    pub fn silence(&self, agent: &Agent, now: Instant) -> Duration {
        Duration::from_millis(self.millis(now).saturating_sub(agent.seen))
    }

    /// When an agent's silence began to be longer than `timeout`.
    pub fn overdue_since(&self, agent: &Agent, timeout: Duration) -> Instant {
        self.epoch + Duration::from_millis(agent.seen) + timeout
    }

    /// Whether an agent has been silent for too long.
    pub fn timed_out(&self, agent: &Agent, now: Instant, timeout: Duration) -> bool {
        self.silence(agent, now) > timeout
    }

    /// Whether an agent has been without deployment for longer than `tolerance`.
    pub fn unclaimed(&self, agent: &Agent, now: Instant, tolerance: Duration) -> bool {
        let known = self.millis(now).saturating_sub(agent.discovered);
        agent.place.is_none() && Duration::from_millis(known) > tolerance
    }

    /// Whether the director has been asked in full since an agent was discovered: only then it is known that no
    /// deployment has it. A director that is slow or down makes nobody a stranger.
    pub fn disowned(&self, agent: &Agent) -> bool {
        agent.place.is_none() && self.complete.is_some_and(|began| began > agent.discovered)
    }

    /// Makes the registry what the director says, which was asked at `began`. Deployments it no longer names are forgotten
    /// with their agents.
    pub fn sync(&mut self, told: Vec<Told>, began: Instant, now: Instant) {
        let now = self.millis(now);
        let complete = told.iter().all(|told| told.instances.is_some());
        let mut names = HashSet::new();
        let mut before: HashMap<_, _> = std::mem::take(&mut self.deployments)
            .into_iter()
            .map(|deployment| (deployment.name.clone(), deployment))
            .collect();
        let mut managed: HashMap<&Id, Place> = HashMap::new();
        let mut deployments = Vec::with_capacity(told.len());
        for told in told {
            let old = before.remove(&*told.name);
            let (name, teams, instances) = match old {
                Some(old) => (old.name, old.teams, old.instances),
                None => (told.name.into(), Arc::new([]) as _, Box::default()),
            };
            let instances = match told.instances {
                Some(told) => told
                    .into_iter()
                    .filter(|instance| !instance.id.is_empty())
                    .map(|instance| instance.sharing(&mut names))
                    .collect(),
                None => instances,
            };
            deployments.push(Deployment {
                name,
                teams: if *teams == *told.teams {
                    teams
                } else {
                    told.teams.into()
                },
                locked: told.locked,
                instances,
            });
        }
        for (at, deployment) in deployments.iter().enumerate() {
            for (index, instance) in deployment.instances.iter().enumerate() {
                if let Some(id) = &instance.agent_id {
                    let place = Place {
                        deployment: at as u32,
                        instance: index as u32,
                    };
                    managed.insert(id, place);
                }
            }
        }
        // An agent that was managed and is no more has been deleted on purpose.
        self.agents.retain(|id, agent| {
            let place = managed.remove(id);
            let stays = place.is_some() || agent.place.is_none();
            agent.place = place;
            stays
        });
        self.agents.reserve(managed.len());
        for (id, place) in managed {
            let agent = Agent {
                place: Some(place),
                ..Agent::new(now)
            };
            self.agents.insert(id.clone(), agent);
        }
        self.deployments = deployments;
        self.unmanaged = self
            .agents
            .values()
            .filter(|agent| !agent.is_managed())
            .count();
        self.synced = true;
        if complete {
            self.complete = Some(self.millis(began));
        }
    }

    /// Takes note of an agent's heartbeat. Gives it in full where `wanted` and where it is known whose it is.
    ///
    /// # Errors
    /// What is wrong with it; one that has a bad timestamp is a sign of life nevertheless.
    pub fn heartbeat(
        &mut self,
        id: &str,
        payload: &[u8],
        now: Instant,
        wall: i64,
        wanted: bool,
    ) -> Result<Option<Heartbeat>, Refusal> {
        message::check_size(payload)?;
        let beat = Beat::read(payload).map_err(|error| Refusal::json(&error))?;
        let at = self.millis(now);
        let key = Id::from(id);
        let agent = self.entry(&key, at).ok_or(Refusal::Strangers)?;
        agent.seen = agent.seen.max(at);
        agent.job_state = beat.job_state;
        agent.processes = match beat.processes {
            Some(count) => count.min(u64::from(u32::MAX - 1)) as u32,
            None => u32::MAX,
        };
        if agent.place.is_some() {
            let detail = agent.detail.get_or_insert_default();
            detail.vitals = beat.vitals;
            let second = (at / 1000) as u32;
            let due =
                |sampled: u32| second.saturating_sub(sampled) >= SAMPLE_EVERY.as_secs() as u32;
            if detail.sampled.is_none_or(due) {
                detail.history.push(&beat.vitals);
                detail.sampled = Some(second);
            }
        }
        let timestamp = match beat.timestamp {
            Timestamp::Absent => wall,
            Timestamp::At(seconds) => seconds,
            Timestamp::Invalid => return Err(Refusal::Invalid("timestamp is invalid".into())),
        };
        if !wanted {
            return Ok(None);
        }
        self.event(&key, id, payload, timestamp)
    }

    /// A heartbeat as plugins see it; `None` where it is not known whose it is.
    fn event(
        &self,
        key: &Id,
        id: &str,
        payload: &[u8],
        timestamp: i64,
    ) -> Result<Option<Heartbeat>, Refusal> {
        let Some((deployment, instance)) = self.agent(key).and_then(|agent| self.instance(agent))
        else {
            return Ok(None);
        };
        let Some(job) = &instance.job else {
            return Ok(None);
        };
        let mut body: serde_json::Map<String, Value> =
            serde_json::from_slice(payload).map_err(|error| Refusal::json(&error))?;
        let index = match body.get("index") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let job_state = match body.remove("job_state") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(other) => Some(other.to_string()),
        };
        Ok(Some(Heartbeat {
            id: uuid::Uuid::new_v4().to_string(),
            timestamp,
            agent_id: id.to_owned(),
            deployment: deployment.name.to_string(),
            job: job.to_string(),
            index,
            instance_id: instance.id.to_string(),
            job_state,
            number_of_processes: body.get("number_of_processes").and_then(Value::as_u64),
            teams: deployment.teams.clone(),
            vitals: body.remove("vitals").unwrap_or_default(),
        }))
    }

    /// Takes note that an agent said something other than a heartbeat, which upstream does not count as a sign of life.
    /// Whether it is known now: too many strangers are not.
    pub fn heard(&mut self, id: &Id, now: Instant) -> bool {
        let at = self.millis(now);
        self.entry(id, at).is_some()
    }

    fn entry(&mut self, id: &Id, at: u64) -> Option<&mut Agent> {
        if !self.agents.contains_key(id) {
            if self.unmanaged >= MAX_UNMANAGED {
                return None;
            }
            self.unmanaged += 1;
            self.agents.insert(id.clone(), Agent::new(at));
        }
        self.agents.get_mut(id)
    }

    /// Forgets an agent: it said goodbye, or it was a stranger and fell silent.
    pub fn forget(&mut self, id: &Id) -> bool {
        let agent = self.agents.remove(id);
        if agent.as_ref().is_some_and(|agent| !agent.is_managed()) {
            self.unmanaged -= 1;
        }
        agent.is_some()
    }

    /// Counts nobody silent for the time in which nobody could be heard.
    pub fn excuse_silence(&mut self, until: Instant) {
        let until = self.millis(until);
        for agent in self.agents.values_mut() {
            agent.seen = agent.seen.max(until);
        }
    }

    /// The members of a deployment as the resurrector counts them: (instance group, instance) each.
    pub fn members(&self, name: &str) -> Vec<(String, String)> {
        let instances = self
            .deployment(name)
            .map(|deployment| &deployment.instances);
        let counted = instances.into_iter().flatten().filter(|of| of.is_member());
        counted
            .map(|instance| {
                let job = instance.job.as_deref().unwrap_or_default().to_owned();
                (job, instance.id.to_string())
            })
            .collect()
    }

    /// How the agents of each deployment are, in the director's order.
    pub fn counts(&self, now: Instant, timeout: Duration) -> Vec<(Arc<str>, Counts)> {
        let mut counted: Vec<_> = self
            .deployments
            .iter()
            .map(|deployment| (deployment.name.clone(), Counts::default()))
            .collect();
        for agent in self.agents.values() {
            let Some(place) = agent.place else { continue };
            let Some((_, counts)) = counted.get_mut(place.deployment as usize) else {
                continue;
            };
            counts.agents += 1;
            counts.unresponsive += usize::from(self.timed_out(agent, now, timeout));
            counts.unhealthy += usize::from(agent.unhealthy());
            counts.failing += usize::from(agent.job_state == JobState::Failing);
            counts.stopped += usize::from(agent.job_state == JobState::Stopped);
            counts.unknown += usize::from(agent.job_state == JobState::Unknown);
        }
        counted
    }

    /// The name alerts have of an agent.
    pub fn name(&self, id: &Id, agent: &Agent) -> String {
        match self.instance(agent) {
            Some((deployment, instance)) => {
                let (deployment, uuid) = (&deployment.name, &instance.id);
                let index = |separator: &str| {
                    let index = instance.index.map(|index| format!("index={index}"));
                    index.map(|text| text + separator).unwrap_or_default()
                };
                match &instance.job {
                    Some(job) => {
                        let cid = instance.cid.as_deref().unwrap_or_default();
                        format!(
                            "{deployment}: {job}({uuid}) [id={id}, {}cid={cid}]",
                            index(", ")
                        )
                    }
                    None => {
                        let cid = instance.cid.as_ref().map(|cid| format!(", cid={cid}"));
                        let cid = cid.unwrap_or_default();
                        format!(
                            "agent {id} [deployment={deployment}, {}instance_id={uuid}{cid}]",
                            index(", ")
                        )
                    }
                }
            }
            None => format!("agent {id} []"),
        }
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}
