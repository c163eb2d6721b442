//! One service in the state machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::events::Event;
use super::types::{Action, Monitoring, RunId, Time};
use crate::supervisor::monitrc::{self, Rate};

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Start,
    Stop,
    /// Stop, then start.
    Bounce,
}

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing.
    Rest,
    /// The start program was run; the process has not been seen yet.
    Starting { run: RunId, deadline: Time },
    /// The stop program was run; the process has not ended yet, or the program has not.
    Stopping {
        run: RunId,
        running: bool,
        deadline: Time,
        kill_at: Time,
        reported: bool,
    },
    /// The process has ended and the stop program, too; what they left behind is being ended.
    Sweeping,
    /// The restart program was run; it has not ended yet, or no process has been seen since.
    Restarting {
        run: RunId,
        running: bool,
        deadline: Time,
    },
}

/// A problem that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) changed: bool,
    pub(super) message: String,
}

/// How often a condition held lately: monit's bit map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    map: u64,
    /// Whether the failure was reported and not taken back.
    pub(super) failed: bool,
}

/// What an observation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not often enough.
    Nothing,
    /// It failed; whether that is new.
    Failed { first: bool },
    /// It is over.
    Recovered,
}

impl History {
    pub(super) fn observe(&mut self, bad: bool, failed: Rate, recovered: Rate) -> Verdict {
        self.map = (self.map << 1) | u64::from(bad);
        let ones = |cycles: u32| (self.map & window(cycles)).count_ones();
        if bad && ones(failed.cycles) >= failed.count {
            let first = !std::mem::replace(&mut self.failed, true);
            return Verdict::Failed { first };
        }
        if !bad && self.failed && recovered.cycles - ones(recovered.cycles) >= recovered.count {
            self.failed = false;
            return Verdict::Recovered;
        }
        Verdict::Nothing
    }

    /// Counting begins anew; what was reported stays reported.
    pub(super) fn forget(&mut self) {
        self.map = 0;
    }
}

fn window(cycles: u32) -> u64 {
    if cycles >= 64 {
        u64::MAX
    } else {
        (1 << cycles) - 1
    }
}

/// What survives a restart of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) monitored: bool,
    /// An unfinished stop or restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<String>,
    /// Restarts and cycles counted by `if N restarts within M cycles`.
    #[serde(default)]
    pub(crate) restarts: u32,
    #[serde(default)]
    pub(crate) cycles: u32,
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) definition: Arc<monitrc::Service>,
    pub(super) depends: Vec<usize>,
    pub(super) dependants: Vec<usize>,
    pub(super) monitoring: Monitoring,
    pub(super) intent: Option<Intent>,
    /// Do not start before.
    pub(super) not_before: Time,
    pub(super) phase: Phase,
    pub(super) pid: Option<i32>,
    pub(super) last_pid: Option<i32>,
    pub(super) up_since: Time,
    /// Attempts in a row that did not lead to a minute of life.
    pub(super) failures: u32,
    /// By event and check; `None` is the service itself.
    pub(super) problems: BTreeMap<(Event, Option<usize>), Problem>,
    pub(super) missing: History,
    pub(super) checks: Vec<History>,
    /// Never looked for since it was defined.
    pub(super) fresh: bool,
    pub(super) skipped: u32,
    pub(super) restarts: u32,
    pub(super) cycles: u32,
    pub(super) counted: bool,
    /// Whether the process said so; only of interest with a watchdog.
    pub(super) ready: bool,
    /// When it last said that it is well.
    pub(super) petted: Time,
    /// How long it may be silent, by its own wish.
    pub(super) interval: Option<Duration>,
    /// It was silent for too long: it is not waited for as long as others when it is stopped.
    pub(super) hung: bool,
}

impl Entry {
    pub(super) fn new(definition: Arc<monitrc::Service>, monitored: bool, now: Time) -> Self {
        let checks = vec![History::default(); definition.checks.len()];
        Self {
            definition,
            depends: Vec::new(),
            dependants: Vec::new(),
            monitoring: if monitored {
                Monitoring::Init
            } else {
                Monitoring::No
            },
            intent: None,
            not_before: now,
            phase: Phase::Rest,
            pid: None,
            last_pid: None,
            up_since: now,
            failures: 0,
            problems: BTreeMap::new(),
            missing: History::default(),
            checks,
            fresh: true,
            skipped: 0,
            restarts: 0,
            cycles: 0,
            counted: false,
            ready: false,
            petted: now,
            interval: None,
            hung: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.definition.name
    }

    pub(super) fn is_process(&self) -> bool {
        self.definition.kind.is_process()
    }

    /// Whether there is something to look at besides the pidfile.
    pub(super) fn needs_checks(&self) -> bool {
        let definition = &self.definition;
        !matches!(
            definition.kind,
            monitrc::Kind::Process(_) | monitrc::Kind::System
        ) || !definition.checks.is_empty()
            || definition.ppid_changed.effect != monitrc::Effect::Ignore
    }

    pub(super) fn is_monitored(&self) -> bool {
        self.monitoring != Monitoring::No
    }

    /// Whether nobody has looked for its process yet: then nothing may be started, and nothing is known to be down.
    pub(super) fn is_unknown(&self) -> bool {
        self.fresh && self.is_process()
    }

    /// Whether others may rely on it.
    pub(super) fn is_up(&self) -> bool {
        if self.is_process() {
            let rests = self.phase == Phase::Rest && !self.must_stop();
            self.pid.is_some() && rests && self.is_ready()
        } else {
            self.intent.is_none() && self.phase == Phase::Rest
        }
    }

    /// Whether a stop is still to be done or under way.
    pub(super) fn must_stop(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. } | Phase::Sweeping)
            || matches!(self.intent, Some(Intent::Stop | Intent::Bounce))
    }

    /// Whether its process may count as up.
    pub(super) fn is_ready(&self) -> bool {
        self.ready || self.definition.watchdog.is_none()
    }

    /// When the watchdog bites.
    pub(super) fn watchdog(&self) -> Option<Time> {
        let interval = self
            .interval
            .or(self.definition.watchdog.as_ref()?.interval)?;
        let well = self.is_monitored()
            && self.pid.is_some()
            && self.phase == Phase::Rest
            && self.intent.is_none();
        well.then(|| self.petted + interval)
    }

    pub(super) fn pending(&self) -> Option<Action> {
        match self.intent {
            Some(Intent::Start) => Some(Action::Start),
            Some(Intent::Stop) => Some(Action::Stop),
            Some(Intent::Bounce) => Some(Action::Restart),
            None => match self.phase {
                Phase::Rest => None,
                Phase::Starting { .. } => Some(Action::Start),
                Phase::Stopping { .. } | Phase::Sweeping => Some(Action::Stop),
                Phase::Restarting { .. } => Some(Action::Restart),
            },
        }
    }

    pub(super) fn saved(&self) -> Saved {
        let pending = match self.intent {
            Some(Intent::Stop) => Some("stop"),
            Some(Intent::Bounce) => Some("restart"),
            Some(Intent::Start) | None => None,
        };
        Saved {
            monitored: self.is_monitored(),
            pending: pending.map(str::to_owned),
            restarts: self.restarts,
            cycles: self.cycles,
        }
    }

    pub(super) fn status(&self) -> (u32, u32) {
        let mut bits = (0, 0);
        for ((event, _), problem) in &self.problems {
            bits.0 |= event.bit();
            if problem.changed {
                bits.1 |= event.bit();
            }
        }
        bits
    }
}
