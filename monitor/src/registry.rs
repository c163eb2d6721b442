//! Known deployments, instances and agents. No I/O; time is an argument.
//!
//! Source: upstream's instance_manager.rb, deployment.rb, agent.rb, instance.rb. Instances of upstream's agents' many
//! string attributes are kept once, in [`Instance`]; an agent is an id, a few numbers and a place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::event::Heartbeat;

/// A deployment as the director tells it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// Its teams.
    pub teams: Vec<String>,
    /// Whether a task holds its lock: it is being changed on purpose.
    pub locked: bool,
    /// Its instances; `None` where asking for them failed, which changes nothing about them.
    pub instances: Option<Vec<Instance>>,
}

/// An instance as `GET /deployments/NAME/instances` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Instance {
    /// Its UUID.
    pub id: Arc<str>,
    /// The agent of its VM, if it has one.
    #[serde(default)]
    pub agent_id: Option<Arc<str>>,
    /// Its instance group.
    #[serde(default)]
    pub job: Option<Arc<str>>,
    /// Its index in the group.
    #[serde(default)]
    pub index: Option<u64>,
    /// The CID of its VM, if it has one.
    #[serde(default)]
    pub cid: Option<Box<str>>,
    /// Whether it ought to have one.
    #[serde(default)]
    pub expects_vm: bool,
}

/// An agent that has been heard of.
#[derive(Clone, Debug)]
pub struct Agent {
    /// When it was first heard of.
    pub discovered: Instant,
    /// When it last gave a sign of life.
    pub seen: Instant,
    /// Its last heartbeat's `job_state`.
    pub job_state: JobState,
    /// Its last heartbeat's count of processes.
    pub processes: Option<u32>,
    /// Its instance; `None` while no deployment has it.
    pub instance: Option<Place>,
}

/// Where an agent belongs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The deployment's name.
    pub deployment: Arc<str>,
    /// The instance's UUID.
    pub instance: Arc<str>,
}

/// A heartbeat's `job_state`, without the memory of a string per agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobState {
    /// No heartbeat said.
    #[default]
    Unknown,
    /// `running`
    Running,
    /// `failing`
    Failing,
    /// `stopped`
    Stopped,
    /// Anything else.
    Other,
}

impl From<Option<&str>> for JobState {
    fn from(name: Option<&str>) -> Self {
        match name {
            None => Self::Unknown,
            Some("running") => Self::Running,
            Some("failing") => Self::Failing,
            Some("stopped") => Self::Stopped,
            Some(_) => Self::Other,
        }
    }
}

/// A deployment and what is known to be in it.
#[derive(Debug, Default)]
pub struct Deployment {
    /// Its teams.
    pub teams: Arc<[String]>,
    /// Whether a task holds its lock.
    pub locked: bool,
    /// Its instances by UUID.
    pub instances: HashMap<Arc<str>, Instance>,
}

/// What a heartbeat says that matters to the registry; `vitals` are read only where a plugin wants them.
#[derive(Debug, Default, Deserialize)]
pub struct Beat<'a> {
    #[serde(borrow, default)]
    job_state: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    number_of_processes: Option<u64>,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    index: Option<serde_json::Value>,
    #[serde(borrow, default)]
    vitals: Option<&'a serde_json::value::RawValue>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Registry {
    deployments: BTreeMap<Arc<str>, Deployment>,
    agents: HashMap<Arc<str>, Agent>,
    /// Whether the director has been heard once; until then nothing is known to be missing.
    synced: bool,
}

/// The most agents without deployment that are kept: a bus that is flooded with invented ids takes no more memory.
const MAX_UNMANAGED: usize = 100_000;

impl Registry {
    /// Whether the director has been heard once.
    pub fn synced(&self) -> bool {
        self.synced
    }

    /// The deployments by name.
    pub fn deployments(&self) -> &BTreeMap<Arc<str>, Deployment> {
        &self.deployments
    }

    /// An agent by id.
    pub fn agent(&self, id: &str) -> Option<&Agent> {
        self.agents.get(id)
    }

    /// All agents, managed or not.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &Agent)> {
        self.agents.iter().map(|(id, agent)| (&**id, agent))
    }

    /// The instance an agent belongs to.
    pub fn instance(&self, agent: &Agent) -> Option<(&str, &Instance)> {
        let place = agent.instance.as_ref()?;
        let (name, deployment) = self.deployments.get_key_value(&place.deployment)?;
        Some((name, deployment.instances.get(&place.instance)?))
    }

    /// Makes the registry what the director says. Deployments it no longer names are forgotten with their agents.
    pub fn sync(&mut self, told: Vec<Told>, now: Instant) {
        // An instance group's name is kept once, however many instances it has.
        let mut groups: HashSet<Arc<str>> = HashSet::new();
        let mut managed: HashSet<Arc<str>> = HashSet::new();
        let mut deployments = BTreeMap::new();
        for told in told {
            let name: Arc<str> = told.name.into();
            let mut deployment = self.deployments.remove(&name).unwrap_or_default();
            if *deployment.teams != *told.teams {
                deployment.teams = told.teams.into();
            }
            deployment.locked = told.locked;
            if let Some(instances) = told.instances {
                deployment.instances = instances
                    .into_iter()
                    .map(|instance| (instance.id.clone(), instance.sharing(&mut groups)))
                    .collect();
            }
            for (id, instance) in &deployment.instances {
                let Some(agent_id) = &instance.agent_id else {
                    continue;
                };
                let place = Place {
                    deployment: name.clone(),
                    instance: id.clone(),
                };
                let agent = self
                    .agents
                    .entry(agent_id.clone())
                    .or_insert_with(|| Agent::new(now));
                agent.instance = Some(place);
                managed.insert(agent_id.clone());
            }
            deployments.insert(name, deployment);
        }
        self.deployments = deployments;
        // An agent that was managed and is no more has been deleted on purpose.
        self.agents
            .retain(|id, agent| agent.instance.is_none() || managed.contains(id));
        self.synced = true;
    }

    /// Takes note of an agent's heartbeat. Gives it in full where `wanted` and where it is known whose it is.
    pub fn heartbeat(
        &mut self,
        id: &str,
        payload: &[u8],
        now: Instant,
        wall: i64,
        wanted: bool,
    ) -> Result<Option<Heartbeat>, serde_json::Error> {
        let beat: Beat = serde_json::from_slice(payload)?;
        let Some(agent) = self.heard(id, now) else {
            return Ok(None);
        };
        agent.seen = now;
        agent.job_state = beat.job_state.as_deref().into();
        agent.processes = beat
            .number_of_processes
            .map(|count| count.try_into().unwrap_or(u32::MAX));
        if !wanted {
            return Ok(None);
        }
        let Some(agent) = self.agents.get(id) else {
            return Ok(None);
        };
        let Some((deployment, instance)) = self.instance(agent) else {
            return Ok(None);
        };
        let Some(job) = &instance.job else {
            return Ok(None);
        };
        let index = match beat.index {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        Ok(Some(Heartbeat {
            id: uuid::Uuid::new_v4().to_string(),
            timestamp: beat.timestamp.unwrap_or(wall),
            agent_id: id.to_owned(),
            deployment: deployment.to_owned(),
            job: job.to_string(),
            index,
            instance_id: instance.id.to_string(),
            job_state: beat.job_state.map(Into::into),
            number_of_processes: beat.number_of_processes,
            teams: self
                .deployments
                .get(deployment)
                .map_or_else(|| Arc::new([]) as _, |deployment| deployment.teams.clone()),
            vitals: beat.vitals.map_or(Ok(serde_json::Value::Null), |raw| {
                serde_json::from_str(raw.get())
            })?,
        }))
    }

    /// The agent with this id, which has just been heard; `None` where too many strangers are.
    pub fn heard(&mut self, id: &str, now: Instant) -> Option<&mut Agent> {
        if !self.agents.contains_key(id) {
            let managed: usize = self
                .deployments
                .values()
                .map(|deployment| deployment.instances.len())
                .sum();
            if self.agents.len() >= managed + MAX_UNMANAGED {
                return None;
            }
            self.agents.insert(id.into(), Agent::new(now));
        }
        self.agents.get_mut(id)
    }

    /// Forgets an agent: it said goodbye, or it was a stranger and fell silent.
    pub fn forget(&mut self, id: &str) -> bool {
        self.agents.remove(id).is_some()
    }

    /// Counts nobody silent for the time in which nobody could be heard.
    pub fn excuse_silence(&mut self, until: Instant) {
        for agent in self.agents.values_mut() {
            agent.seen = agent.seen.max(until);
        }
    }

    /// The members of a deployment as the resurrector counts them: (instance group, instance) of every agent, and of
    /// every instance that ought to have a VM and has none.
    pub fn members(&self, name: &str) -> Vec<(String, String)> {
        let Some(deployment) = self.deployments.get(name) else {
            return Vec::new();
        };
        let counted = deployment.instances.values().filter(|instance| {
            instance.agent_id.is_some() || (instance.expects_vm && instance.cid.is_none())
        });
        counted
            .map(|instance| {
                (
                    instance.job.as_deref().unwrap_or_default().to_owned(),
                    instance.id.to_string(),
                )
            })
            .collect()
    }

    /// Deployment -> how many of its agents `counts`.
    pub fn count(&self, counts: impl Fn(&Agent) -> bool) -> BTreeMap<String, usize> {
        let mut counted: BTreeMap<String, usize> = self
            .deployments
            .keys()
            .map(|name| (name.to_string(), 0))
            .collect();
        for agent in self.agents.values() {
            let Some(place) = &agent.instance else {
                continue;
            };
            if counts(agent)
                && let Some(count) = counted.get_mut(&*place.deployment)
            {
                *count += 1;
            }
        }
        counted
    }

    /// How many agents no deployment has.
    pub fn unmanaged(&self) -> usize {
        self.agents
            .values()
            .filter(|agent| agent.instance.is_none())
            .count()
    }
}

impl Agent {
    fn new(now: Instant) -> Self {
        Self {
            discovered: now,
            seen: now,
            job_state: JobState::Unknown,
            processes: None,
            instance: None,
        }
    }

    /// Whether it has been silent for too long.
    pub fn timed_out(&self, now: Instant, timeout: Duration) -> bool {
        now.saturating_duration_since(self.seen) > timeout
    }

    /// Whether it has been without deployment for too long.
    pub fn rogue(&self, now: Instant, tolerance: Duration) -> bool {
        self.instance.is_none() && now.saturating_duration_since(self.discovered) > tolerance
    }

    /// The name alerts have of it.
    pub fn name(&self, id: &str, registry: &Registry) -> String {
        match registry.instance(self) {
            Some((
                deployment,
                Instance {
                    job: Some(job),
                    id: instance,
                    index,
                    cid,
                    ..
                },
            )) => {
                let index = index
                    .map(|index| format!("index={index}, "))
                    .unwrap_or_default();
                let cid = cid.as_deref().unwrap_or_default();
                format!("{deployment}: {job}({instance}) [id={id}, {index}cid={cid}]")
            }
            Some((deployment, instance)) => format!(
                "agent {id} [deployment={deployment}, instance_id={}]",
                instance.id
            ),
            None => format!("agent {id} []"),
        }
    }
}

impl Instance {
    /// The same, with its group's name shared with the other instances'.
    fn sharing(mut self, groups: &mut HashSet<Arc<str>>) -> Self {
        if let Some(job) = self.job.take() {
            let shared = groups.get(&job).cloned().unwrap_or_else(|| job.clone());
            groups.insert(shared.clone());
            self.job = Some(shared);
        }
        self
    }

    /// The name alerts have of it.
    pub fn name(&self, deployment: &str) -> String {
        let optional =
            |name: &str, value: Option<String>| value.map(|value| format!("{name}={value}"));
        let index = optional("index", self.index.map(|index| index.to_string()));
        let agent = optional("agent_id", self.agent_id.as_deref().map(str::to_owned));
        let (identifier, attributes) = match &self.job {
            Some(job) => {
                let cid = Some(format!("cid={}", self.cid.as_deref().unwrap_or_default()));
                (format!("{job}({})", self.id), vec![agent, index, cid])
            }
            None => {
                let expects = self.expects_vm.then(|| "expects_vm=true".to_owned());
                (
                    format!("instance {}", self.id),
                    vec![
                        agent,
                        index,
                        optional("cid", self.cid.as_deref().map(str::to_owned)),
                        expects,
                    ],
                )
            }
        };
        format!(
            "{deployment}: {identifier} [{}]",
            attributes
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, instances: &[(&str, &str)]) -> Told {
        let instances = instances.iter().map(|(id, agent)| Instance {
            id: (*id).into(),
            agent_id: Some((*agent).into()),
            job: Some("web".into()),
            index: Some(0),
            cid: Some("vm".into()),
            expects_vm: true,
        });
        Told {
            name: name.into(),
            teams: vec!["ops".into()],
            locked: false,
            instances: Some(instances.collect()),
        }
    }

    #[test]
    fn a_stranger_becomes_managed_when_the_director_names_it() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        assert!(
            registry
                .heartbeat("a1", b"{}", now, 0, true)
                .unwrap()
                .is_none()
        );
        assert_eq!(registry.unmanaged(), 1);
        registry.sync(vec![told("d", &[("i1", "a1")])], now);
        assert_eq!(registry.unmanaged(), 0);
        let beat = registry
            .heartbeat("a1", br#"{"job_state":"running","index":0}"#, now, 7, true)
            .unwrap()
            .unwrap();
        assert_eq!(
            (
                beat.deployment.as_str(),
                beat.job.as_str(),
                beat.index.as_str(),
                beat.timestamp
            ),
            ("d", "web", "0", 7)
        );
        assert_eq!(&*beat.teams, ["ops".to_owned()]);
    }

    #[test]
    fn what_the_director_no_longer_names_is_forgotten_and_what_it_could_not_tell_is_kept() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.sync(
            vec![told("d", &[("i1", "a1")]), told("e", &[("i2", "a2")])],
            now,
        );
        registry.sync(
            vec![Told {
                instances: None,
                ..told("d", &[])
            }],
            now,
        );
        assert!(registry.agent("a1").is_some());
        assert!(registry.agent("a2").is_none());
    }

    #[test]
    fn names_are_upstreams() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.sync(vec![told("d", &[("i1", "a1")])], now);
        let agent = registry.agent("a1").unwrap();
        assert_eq!(
            agent.name("a1", &registry),
            "d: web(i1) [id=a1, index=0, cid=vm]"
        );
        let (deployment, instance) = registry.instance(agent).unwrap();
        assert_eq!(
            instance.name(deployment),
            "d: web(i1) [agent_id=a1, index=0, cid=vm]"
        );
    }

    #[test]
    fn garbage_is_refused_and_hostile_depth_does_not_recurse() {
        let (mut registry, now) = (Registry::default(), Instant::now());
        registry.sync(vec![told("d", &[("i1", "a1")])], now);
        assert!(registry.heartbeat("a1", b"no", now, 0, true).is_err());
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let deep = format!("{{\"vitals\":{open}1{close}}}");
        assert!(
            registry
                .heartbeat("a1", deep.as_bytes(), now, 0, true)
                .is_err()
        );
        assert!(registry.heartbeat("x", b"no", now, 0, true).is_err());
        assert!(registry.agent("x").is_none());
    }
}
