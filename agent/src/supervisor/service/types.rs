//! What goes into the state machine, what comes out of it and what others see of it.

use std::time::Duration;

use bosh_protocol::Process;
use bosh_protocol::state::{ProcessCpu, ProcessMemory, ProcessUptime};

use super::events::Event;
use crate::supervisor::checks::Facts;
use crate::supervisor::monitrc;

/// Since some start, never backwards.
pub(crate) type Time = Duration;

/// What can be asked for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it, its prerequisites before and its dependants after it, and monitor them.
    Start,
    /// Stop it, its dependants before it, and do not monitor them.
    Stop,
    /// Both.
    Restart,
    /// Monitor it and its prerequisites.
    Monitor,
    /// Do not monitor it and its dependants.
    Unmonitor,
}

impl Action {
    /// monit's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Monitor => "monitor",
            Self::Unmonitor => "unmonitor",
        }
    }

    /// monit's number in `<pendingaction>`.
    pub fn number(self) -> u8 {
        match self {
            Self::Restart => 2,
            Self::Stop => 3,
            Self::Unmonitor => 5,
            Self::Start => 6,
            Self::Monitor => 7,
        }
    }

    /// The action of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Start,
            Self::Stop,
            Self::Restart,
            Self::Monitor,
            Self::Unmonitor,
        ]
        .into_iter()
        .find(|action| action.name().eq_ignore_ascii_case(name))
    }
}

/// Whether a service is looked after. The numbers are monit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitoring {
    /// It is left alone.
    No = 0,
    /// It is looked after.
    Yes = 1,
    /// It is, but what it does is not known yet, or it is starting.
    Init = 2,
}

impl Monitoring {
    /// monit's words.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "not monitored",
            Self::Yes => "monitored",
            Self::Init => "initializing",
        }
    }
}

/// Names a program that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RunId(pub(crate) u64);

/// Which of a service's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Start,
    Stop,
    Restart,
    /// Because of an event, which its environment tells it.
    Exec {
        event: &'static str,
        description: String,
    },
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded(String),
    Failed(String),
    /// Not what it was; nothing to recover from.
    Changed(String),
    /// As it was.
    NotChanged,
}

/// What a process tells over systemd's notify socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// `READY=1`.
    Ready,
    /// `WATCHDOG=1`.
    Alive,
    /// `WATCHDOG=trigger`: it knows that it is not well.
    Trigger,
    /// `WATCHDOG_USEC=`: it wants another interval.
    Interval(Duration),
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Somebody wants something.
    Act { name: String, action: Action },
    /// The process was looked for: the pid, if it is alive.
    Found { name: String, pid: Option<i32> },
    /// The process ended.
    Died { name: String, pid: i32 },
    /// A start or stop program ended, well or not.
    Ended {
        name: String,
        run: RunId,
        well: bool,
    },
    /// A program could not be run.
    NotRun {
        name: String,
        run: RunId,
        problem: String,
    },
    /// A check has a result; without a number it is the existence of a file, a host and the like.
    Checked {
        name: String,
        check: Option<usize>,
        event: Event,
        outcome: Outcome,
    },
    /// A process says something about itself.
    Notified { name: String, notice: Notice },
    /// Nothing is left of what a service started.
    Swept { name: String },
    /// A poll cycle begins.
    Cycle,
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Run a program in a session of its own.
    Run {
        name: String,
        run: RunId,
        what: Run,
        program: monitrc::Program,
    },
    /// Kill a program with its process group.
    KillRun { name: String, run: RunId },
    /// Kill a process with its descendants.
    KillProcess { name: String, pid: i32 },
    /// End whatever is left of a service that was stopped.
    Sweep { name: String },
    /// Do the checks of a service.
    Check { name: String },
    /// Tell somebody.
    Alert {
        service: String,
        event: &'static str,
        action: &'static str,
        description: String,
    },
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Vitals {
    /// Its parent.
    pub parent: i32,
    /// Since it was started.
    pub uptime: Duration,
    /// Number of descendants.
    pub children: u32,
    /// Resident memory.
    pub memory_kb: u64,
    /// With descendants.
    pub total_memory_kb: u64,
    /// Per cent of memory.
    pub memory_percent: f64,
    /// With descendants.
    pub total_memory_percent: f64,
    /// Per cent of all CPUs.
    pub cpu_percent: f64,
    /// With descendants.
    pub total_cpu_percent: f64,
}

/// What is known about a service.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub definition: std::sync::Arc<monitrc::Service>,
    /// Whether it is looked after.
    pub monitoring: Monitoring,
    /// What is under way.
    pub pending: Option<Action>,
    /// Its process, if that is alive.
    pub pid: Option<i32>,
    /// What the process uses.
    pub vitals: Option<Vitals>,
    /// Bits of monit's `<status>`; 0 is well.
    pub status: u32,
    /// Bits of those that say "changed" instead of "failed".
    pub status_hint: u32,
    /// monit's words for the first problem.
    pub problem: Option<&'static str>,
    /// A sentence about the first problem.
    pub message: Option<String>,
    /// `running`, `starting`, `failing`, `unknown`: upstream's words for the state of a process.
    pub state: &'static str,
    /// What the last checks measured.
    pub(crate) facts: Facts,
    /// When it was last looked at, since the epoch.
    pub collected: Duration,
}

impl Snapshot {
    /// Whether it belongs to a group.
    pub fn in_group(&self, group: &str) -> bool {
        self.definition
            .groups
            .iter()
            .any(|own| own.eq_ignore_ascii_case(group))
    }

    /// Whether a stop is complete.
    pub fn is_down(&self) -> bool {
        self.monitoring == Monitoring::No && self.pending.is_none()
    }

    /// As heartbeats and `get_state` carry it.
    pub fn to_process(&self) -> Process {
        let vitals = self.vitals.unwrap_or_default();
        Process {
            name: self.name.clone(),
            state: self.state.to_owned(),
            uptime: ProcessUptime {
                secs: vitals.uptime.as_secs(),
            },
            mem: ProcessMemory {
                kb: vitals.total_memory_kb,
                percent: tenth(vitals.total_memory_percent),
            },
            cpu: ProcessCpu {
                total: tenth(vitals.total_cpu_percent),
            },
        }
    }
}

fn tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
