//! All services: requests, deaths, checks and deadlines in, programs to run and alerts out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, History, Intent, Phase, Saved};
use super::types::{Action, Effect, Input, Monitoring, Run, RunId, Snapshot, Time, Vitals};
use crate::supervisor::checks::Facts;
use crate::supervisor::handle::VCAP_GROUP;
use crate::supervisor::monitrc::{self, Mode};

/// How long things may take where the control file does not say.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// From the beginning of a stop until the process is killed.
    pub(crate) kill_after: Duration,
    /// A process that lives so long is well again.
    pub(crate) stable_after: Duration,
    /// How long a process may take to turn up after its start program failed.
    pub(crate) grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            kill_after: Duration::from_secs(300),
            stable_after: Duration::from_secs(60),
            grace: Duration::from_secs(2),
        }
    }
}

/// The pause before an attempt, after so many in a row that failed.
pub(super) fn back_off(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        2..=6 => Duration::from_secs(1 << (failures - 2)),
        _ => Duration::from_secs(30),
    }
}

/// The state machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(super) policy: Policy,
    pub(super) entries: Vec<Entry>,
    index: HashMap<String, usize>,
    pub(super) next_run: u64,
    /// Changes with every change that others can see.
    pub(crate) revision: u64,
}

impl Machine {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.index.get(&name.to_ascii_lowercase()).copied()
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.position(name).map(|at| &self.entries[at])
    }

    /// New definitions. Services keep their state by name; `saved` is what an earlier agent knew; `stopped` keeps those nobody
    /// knows from being started.
    pub(crate) fn load(
        &mut self,
        now: Time,
        definitions: Vec<Arc<monitrc::Service>>,
        saved: &BTreeMap<String, Saved>,
        stopped: bool,
    ) {
        let mut old: HashMap<String, Entry> = self
            .entries
            .drain(..)
            .map(|entry| (entry.name().to_ascii_lowercase(), entry))
            .collect();
        self.index.clear();
        for definition in definitions {
            let key = definition.name.to_ascii_lowercase();
            let entry = match old.remove(&key) {
                Some(mut entry) if entry.definition.kind == definition.kind => {
                    if entry.definition != definition {
                        entry.checks = vec![History::default(); definition.checks.len()];
                        entry.problems.retain(|(_, check), _| check.is_none());
                        entry.definition = definition;
                    }
                    entry
                }
                Some(entry) => Entry::new(definition, entry.is_monitored(), now),
                None => match saved.get(&key) {
                    Some(saved) => {
                        let mut entry = Entry::new(definition, saved.monitored, now);
                        entry.restarts = saved.restarts;
                        entry.cycles = saved.cycles;
                        entry.intent = match saved.pending.as_deref() {
                            Some("stop") => Some(Intent::Stop),
                            Some("restart") => Some(Intent::Bounce),
                            _ => None,
                        };
                        entry
                    }
                    None => {
                        // Only the group is stopped, and only the group is started again.
                        let held = stopped
                            && definition
                                .groups
                                .iter()
                                .any(|group| group.eq_ignore_ascii_case(VCAP_GROUP));
                        let monitored = !held && definition.mode != Mode::Manual;
                        Entry::new(definition, monitored, now)
                    }
                },
            };
            self.index.insert(key, self.entries.len());
            self.entries.push(entry);
        }
        for at in 0..self.entries.len() {
            let names = self.entries[at].definition.depends.clone();
            self.entries[at].depends = names
                .iter()
                .filter_map(|name| self.position(name))
                .collect();
            self.entries[at].dependants.clear();
        }
        for at in 0..self.entries.len() {
            for parent in self.entries[at].depends.clone() {
                self.entries[parent].dependants.push(at);
            }
        }
        self.revision += 1;
    }

    /// One thing that happened, and what is to be done about it.
    pub(crate) fn step(&mut self, now: Time, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Act { name, action } => {
                if let Some(at) = self.position(&name) {
                    self.act(at, action, now, &mut out);
                }
            }
            Input::Found { name, pid } => {
                if let Some(at) = self.position(&name) {
                    self.found(at, pid, now, &mut out);
                }
            }
            Input::Died { name, pid } => {
                if let Some(at) = self.position(&name)
                    && self.entries[at].pid == Some(pid)
                {
                    self.died(at, now, &mut out);
                }
            }
            Input::Ended { name, run, well } => {
                if let Some(at) = self.position(&name) {
                    self.ended(at, run, well, now);
                }
            }
            Input::NotRun { name, run, problem } => {
                if let Some(at) = self.position(&name) {
                    self.not_run(at, run, &problem, now, &mut out);
                }
            }
            Input::Checked {
                name,
                check,
                event,
                outcome,
            } => {
                if let Some(at) = self.position(&name) {
                    self.checked(at, check, event, outcome, now, &mut out);
                }
            }
            Input::Notified { name, notice } => {
                if let Some(at) = self.position(&name) {
                    self.notified(at, notice, now, &mut out);
                }
            }
            Input::Swept { name } => {
                if let Some(at) = self.position(&name)
                    && self.entries[at].phase == Phase::Sweeping
                {
                    self.revision += 1;
                    let entry = &mut self.entries[at];
                    entry.phase = Phase::Rest;
                    entry.finish_stop(entry.intent);
                }
            }
            Input::Cycle => self.cycle(now, &mut out),
            Input::Tick => {}
        }
        self.settle(now, &mut out);
        out
    }

    /// When the next `Tick` is due.
    pub(crate) fn next_deadline(&self, now: Time) -> Option<Time> {
        let deadlines = self.entries.iter().filter_map(|entry| match &entry.phase {
            Phase::Rest => (entry.intent == Some(Intent::Start) && entry.not_before > now)
                .then_some(entry.not_before)
                .or_else(|| entry.watchdog()),
            Phase::Starting { deadline, .. } | Phase::Restarting { deadline, .. } => {
                Some(*deadline)
            }
            Phase::Sweeping => None,
            Phase::Stopping {
                deadline,
                reported: false,
                ..
            } => Some(*deadline),
            Phase::Stopping { kill_at, .. } => entry.pid.map(|_| *kill_at),
        });
        deadlines.min()
    }

    /// The services whose processes are expected to turn up.
    pub(crate) fn expected(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|entry| {
                matches!(
                    entry.phase,
                    Phase::Starting { .. } | Phase::Restarting { .. }
                )
            })
            .map(Entry::name)
    }

    /// In the order of the control files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(Entry::name)
    }

    pub(crate) fn definition(&self, name: &str) -> Option<Arc<monitrc::Service>> {
        self.entry(name).map(|entry| Arc::clone(&entry.definition))
    }

    /// A service, what it depends on and what depends on it.
    pub(crate) fn related(&self, name: &str) -> Vec<String> {
        let Some(at) = self.position(name) else {
            return Vec::new();
        };
        let mut all: Vec<usize> = self.closure(at, true);
        // A restart of a dependant brings up what that depends on, too.
        let mut up: Vec<usize> = all.iter().flat_map(|at| self.closure(*at, false)).collect();
        all.append(&mut up);
        all.sort_unstable();
        all.dedup();
        let name = |at: usize| self.entries[at].name().to_owned();
        all.into_iter().map(name).collect()
    }

    /// The process of a service, if it is alive.
    pub(crate) fn pid(&self, name: &str) -> Option<i32> {
        self.entry(name).and_then(|entry| entry.pid)
    }

    /// A start or stop program of an earlier agent still runs, for `elapsed` so far: it is waited for like one of our own.
    /// `None` if it is of no interest.
    pub(crate) fn adopt(
        &mut self,
        now: Time,
        name: &str,
        what: &Run,
        elapsed: Duration,
    ) -> Option<RunId> {
        let at = self.position(name)?;
        let kill_after = self.policy.kill_after;
        let entry = &mut self.entries[at];
        if !entry.is_process() || entry.phase != Phase::Rest {
            return None;
        }
        let program = match what {
            Run::Start => entry.definition.start.as_ref(),
            Run::Stop => entry.definition.stop.as_ref(),
            Run::Restart => entry.definition.restart.as_ref(),
            Run::Exec { .. } => None,
        };
        let left = program?.timeout.checked_sub(elapsed)?;
        self.next_run += 1;
        let run = RunId(self.next_run);
        let deadline = now + left;
        let running = true;
        // Nobody listened while it may have said so.
        entry.ready = true;
        entry.phase = match what {
            Run::Start => Phase::Starting { run, deadline },
            Run::Restart => Phase::Restarting {
                run,
                running,
                deadline,
            },
            _ => Phase::Stopping {
                run,
                running,
                deadline,
                kill_at: deadline.max(now + kill_after.saturating_sub(elapsed)),
                reported: false,
            },
        };
        self.revision += 1;
        Some(run)
    }

    /// What others see.
    pub(crate) fn snapshots(
        &self,
        collected: Duration,
        vitals: impl Fn(i32) -> Option<Vitals>,
    ) -> Vec<Snapshot> {
        let blocked = |at: usize| {
            self.closure(at, false)
                .into_iter()
                .any(|parent| !self.entries[parent].problems.is_empty())
        };
        let snapshot = |(at, entry): (usize, &Entry)| {
            let (status, status_hint) = entry.status();
            let first = entry
                .problems
                .iter()
                .min_by_key(|((event, check), _)| (event.keyword(), *check));
            let coming = entry.pending().is_some_and(|action| action != Action::Stop);
            let state = match entry.monitoring {
                Monitoring::No => "unknown",
                _ if blocked(at) => "failing",
                Monitoring::Init => "starting",
                Monitoring::Yes if coming => "starting",
                Monitoring::Yes => "running",
            };
            Snapshot {
                name: entry.name().to_owned(),
                definition: Arc::clone(&entry.definition),
                monitoring: entry.monitoring,
                pending: entry.pending(),
                pid: entry.pid,
                vitals: entry.pid.and_then(&vitals),
                status,
                status_hint,
                problem: first.map(|((event, _), problem)| {
                    if problem.changed {
                        event.changed()
                    } else {
                        event.failed()
                    }
                }),
                message: first.map(|(_, problem)| problem.message.clone()),
                state,
                facts: Facts::default(),
                collected,
            }
        };
        self.entries.iter().enumerate().map(snapshot).collect()
    }

    /// What an agent that comes after this one must know.
    pub(crate) fn saved(&self) -> BTreeMap<String, Saved> {
        self.entries
            .iter()
            .map(|entry| (entry.name().to_ascii_lowercase(), entry.saved()))
            .collect()
    }

    /// Every service with everything it depends on (`down` false) or with everything that depends on it.
    pub(super) fn closure(&self, at: usize, down: bool) -> Vec<usize> {
        let mut seen = vec![at];
        let mut next = 0;
        while next < seen.len() {
            let entry = &self.entries[seen[next]];
            for other in if down {
                &entry.dependants
            } else {
                &entry.depends
            } {
                if !seen.contains(other) {
                    seen.push(*other);
                }
            }
            next += 1;
        }
        seen
    }
}
