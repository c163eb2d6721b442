//! An agent that has been heard of.

use super::{History, Vitals};

/// An agent that has been heard of. Times are milliseconds since the registry was made.
#[derive(Clone, Debug)]
pub struct Agent {
    /// When it was first heard of.
    pub(super) discovered: u64,
    /// When it last gave a sign of life.
    pub(super) seen: u64,
    /// Its instance; `None` while no deployment has it.
    pub(super) place: Option<Place>,
    /// Its last heartbeat's count of processes; `u32::MAX` where it sent none.
    pub(super) processes: u32,
    /// Its last heartbeat's `job_state`.
    pub(super) job_state: JobState,
    /// Its numbers; of agents of deployments only, once they have sent a heartbeat.
    pub(super) detail: Option<Box<Detail>>,
}

/// The numbers of an agent.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// Of its last heartbeat.
    pub vitals: Vitals,
    /// Of those before.
    pub history: History,
    /// When the last sample was taken, in seconds since the registry was made.
    pub(super) sampled: Option<u32>,
}

/// Where an agent belongs: the deployment's and the instance's place in the registry, until the next sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) deployment: u32,
    pub(super) instance: u32,
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
    /// `starting`
    Starting,
    /// Anything else.
    Other,
}

impl JobState {
    /// Its name on the wire, or one that is none of those.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Running => "running",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Other => "other",
        }
    }
}

impl From<Option<&str>> for JobState {
    fn from(name: Option<&str>) -> Self {
        match name {
            None => Self::Unknown,
            Some("running") => Self::Running,
            Some("failing") => Self::Failing,
            Some("stopped") => Self::Stopped,
            Some("starting") => Self::Starting,
            Some(_) => Self::Other,
        }
    }
}

impl Agent {
    pub(super) fn new(now: u64) -> Self {
        Self {
            discovered: now,
            seen: now,
            place: None,
            processes: u32::MAX,
            job_state: JobState::Unknown,
            detail: None,
        }
    }

    /// Its last heartbeat's `job_state`.
    pub fn job_state(&self) -> JobState {
        self.job_state
    }

    /// Its last heartbeat's `number_of_processes`.
    pub fn processes(&self) -> Option<u32> {
        (self.processes != u32::MAX).then_some(self.processes)
    }

    /// Whether it says that its jobs run, and supervises nothing.
    pub fn unhealthy(&self) -> bool {
        self.job_state == JobState::Running && self.processes == 0
    }

    /// Whether a deployment has it.
    pub fn is_managed(&self) -> bool {
        self.place.is_some()
    }

    /// Where it belongs; `None` while no deployment has it.
    pub fn place(&self) -> Option<Place> {
        self.place
    }

    /// Its numbers, where it has sent any.
    pub fn detail(&self) -> Option<&Detail> {
        self.detail.as_deref()
    }
}

impl Place {
    /// The deployment's place among all and the instance's in it, to sort by.
    pub fn order(self) -> (u32, u32) {
        (self.deployment, self.instance)
    }
}
