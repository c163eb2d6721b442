//! All services: requests, deaths, checks and deadlines in, programs to run and alerts out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::entry::{Entry, History, Intent, Phase, Problem, Saved, Verdict};
use super::events::Event;
use super::types::{
    Action, Effect, Input, Monitoring, Outcome, Run, RunId, Snapshot, Time, Vitals,
};
use crate::supervisor::monitrc::{self, Mode, Rate};

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
fn back_off(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        2..=6 => Duration::from_secs(1 << (failures - 2)),
        _ => Duration::from_secs(30),
    }
}

/// The state machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    policy: Policy,
    pub(super) entries: Vec<Entry>,
    index: HashMap<String, usize>,
    next_run: u64,
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
    ) -> Vec<Effect> {
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
                        let monitored = !stopped && definition.mode != Mode::Manual;
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
        Vec::new()
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
                .then_some(entry.not_before),
            Phase::Starting { deadline, .. } => Some(*deadline),
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
            .filter(|entry| matches!(entry.phase, Phase::Starting { .. }))
            .map(Entry::name)
    }

    /// In the order of the control files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(Entry::name)
    }

    pub(crate) fn definition(&self, name: &str) -> Option<Arc<monitrc::Service>> {
        self.entry(name).map(|entry| Arc::clone(&entry.definition))
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
            let first = entry.problems.iter().next();
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
    fn closure(&self, at: usize, down: bool) -> Vec<usize> {
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

    fn act(&mut self, at: usize, action: Action, now: Time, out: &mut Vec<Effect>) {
        self.revision += 1;
        match action {
            Action::Start => {
                let was_up = self.entries[at].is_up();
                for parent in self.closure(at, false) {
                    self.want_up(parent, now, out);
                }
                if !was_up && self.entries[at].is_process() {
                    for child in self.closure(at, true).into_iter().skip(1) {
                        self.want_again(child, now);
                    }
                }
            }
            Action::Stop => {
                for child in self.closure(at, true) {
                    self.want_down(child);
                }
            }
            Action::Restart => {
                for child in self.closure(at, true) {
                    self.want_again(child, now);
                }
            }
            Action::Monitor => {
                for parent in self.closure(at, false) {
                    let entry = &mut self.entries[parent];
                    if entry.is_monitored() {
                        continue;
                    }
                    entry.monitoring = if entry.pid.is_some() {
                        Monitoring::Yes
                    } else {
                        Monitoring::Init
                    };
                    if entry.is_process()
                        && entry.pid.is_none()
                        && entry.phase == Phase::Rest
                        && entry.intent.is_none()
                    {
                        entry.fresh = true;
                        self.missing(parent, now, out);
                    }
                }
            }
            Action::Unmonitor => {
                for child in self.closure(at, true) {
                    let entry = &mut self.entries[child];
                    entry.monitoring = Monitoring::No;
                    if entry.phase == Phase::Rest && entry.intent == Some(Intent::Start) {
                        entry.intent = None;
                    }
                    entry.reset();
                }
            }
        }
    }

    fn want_up(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        if entry.monitoring == Monitoring::No {
            entry.monitoring = Monitoring::Init;
            entry.reset();
        }
        entry.fresh = false;
        entry.failures = 0;
        entry.not_before = now;
        if entry.must_stop() {
            entry.intent = Some(Intent::Bounce);
        } else if entry.is_process() && entry.pid.is_some() && entry.phase == Phase::Rest {
            entry.intent = None;
            self.up(at, now, out);
        } else {
            entry.intent = Some(Intent::Start);
        }
    }

    fn want_down(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        entry.monitoring = Monitoring::No;
        entry.intent = Some(Intent::Stop);
        entry.reset();
    }

    fn want_again(&mut self, at: usize, now: Time) {
        let entry = &mut self.entries[at];
        entry.monitoring = Monitoring::Init;
        entry.fresh = false;
        entry.failures = 0;
        entry.not_before = now;
        let bounce = entry.pid.is_some() || entry.must_stop() || !entry.is_process();
        entry.intent = Some(if bounce {
            Intent::Bounce
        } else {
            Intent::Start
        });
    }

    fn found(&mut self, at: usize, pid: Option<i32>, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        match (entry.pid, pid) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                entry.pid = Some(new);
                entry.last_pid = Some(new);
                entry.up_since = now;
                self.revision += 1;
                if entry.is_monitored() && entry.phase == Phase::Rest && entry.intent.is_none() {
                    let effect = entry.definition.pid_changed.effect.clone();
                    let description = format!("process PID changed from {old} to {new}");
                    self.alert(at, Event::Pid.changed(), &effect, &description, out);
                    self.apply(at, &effect, Event::Pid.changed(), &description, now, out);
                }
            }
            (None, Some(new)) => {
                entry.pid = Some(new);
                entry.last_pid = Some(new);
                entry.up_since = now;
                self.revision += 1;
                if entry.phase == Phase::Rest && !entry.must_stop() {
                    entry.intent = None;
                    if entry.is_monitored() {
                        self.up(at, now, out);
                    }
                }
            }
            (Some(_), None) => self.died(at, now, out),
            (None, None) => {
                if entry.fresh {
                    self.missing(at, now, out);
                }
            }
        }
        self.entries[at].fresh = false;
    }

    fn died(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
        self.revision += 1;
        let stable = self.policy.stable_after;
        let entry = &mut self.entries[at];
        entry.pid = None;
        entry.failures = if now.saturating_sub(entry.up_since) < stable {
            entry.failures + 1
        } else {
            0
        };
        if entry.definition.missing.failed.rate == Rate::ONCE {
            self.missing(at, now, out);
        }
    }

    /// A process that should be there is not.
    fn missing(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        if !entry.is_monitored()
            || entry.phase != Phase::Rest
            || entry.intent.is_some()
            || entry.pid.is_some()
        {
            return;
        }
        if !entry.is_process() {
            return;
        }
        let definition = Arc::clone(&entry.definition);
        let reaction = &definition.missing;
        let description = "process is not running";
        // Nobody is told that a service which was never seen before is not running yet.
        let quiet = std::mem::take(&mut entry.fresh);
        if let Verdict::Failed { first } =
            entry
                .missing
                .observe(true, reaction.failed.rate, reaction.recovered.rate)
        {
            if !quiet {
                self.problem(at, Event::Missing, None, false, description);
                if first {
                    self.alert(
                        at,
                        Event::Missing.failed(),
                        &reaction.failed.effect,
                        description,
                        out,
                    );
                }
            }
            self.apply(
                at,
                &reaction.failed.effect,
                Event::Missing.failed(),
                description,
                now,
                out,
            );
        }
    }

    /// A process is there.
    fn up(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        let Some(pid) = entry.pid else { return };
        self.revision += 1;
        if entry.is_monitored() {
            entry.monitoring = Monitoring::Yes;
        }
        if entry.problems.remove(&(Event::Exec, None)).is_some() {
            self.alert(
                at,
                Event::Exec.succeeded(),
                &monitrc::Effect::Alert,
                "started",
                out,
            );
        }
        let entry = &mut self.entries[at];
        let definition = Arc::clone(&entry.definition);
        let reaction = &definition.missing;
        entry.missing.forget();
        let known = entry.problems.remove(&(Event::Missing, None)).is_some();
        let recovered = entry
            .missing
            .observe(false, reaction.failed.rate, Rate::ONCE)
            == Verdict::Recovered;
        if known && recovered {
            let description = format!("process is running with pid {pid}");
            self.alert(
                at,
                Event::Missing.succeeded(),
                &reaction.recovered.effect,
                &description,
                out,
            );
            self.apply(
                at,
                &reaction.recovered.effect,
                Event::Missing.succeeded(),
                &description,
                now,
                out,
            );
        }
    }

    fn ended(&mut self, at: usize, ended: RunId, well: bool, now: Time) {
        let grace = self.policy.grace;
        match &mut self.entries[at].phase {
            Phase::Starting { run, deadline } if *run == ended && !well => {
                *deadline = (*deadline).min(now + grace)
            }
            Phase::Stopping { run, running, .. } if *run == ended => {
                *running = false;
                self.revision += 1;
            }
            _ => {}
        }
    }

    fn not_run(
        &mut self,
        at: usize,
        failed: RunId,
        problem: &str,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        match &mut self.entries[at].phase {
            Phase::Starting { run, .. } if *run == failed => {
                self.entries[at].phase = Phase::Rest;
                self.start_failed(at, &format!("failed to start: {problem}"), now, out);
            }
            Phase::Stopping {
                run,
                running,
                reported,
                ..
            } if *run == failed => {
                *running = false;
                *reported = true;
                let message = format!("failed to stop: {problem}");
                self.problem(at, Event::Exec, None, false, &message);
                self.alert(
                    at,
                    Event::Exec.failed(),
                    &monitrc::Effect::Alert,
                    &message,
                    out,
                );
            }
            _ => {}
        }
    }

    fn start_failed(&mut self, at: usize, message: &str, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        entry.failures += 1;
        if entry.intent == Some(Intent::Start) {
            entry.intent = None;
        }
        let first = !entry.problems.contains_key(&(Event::Exec, None));
        self.problem(at, Event::Exec, None, false, message);
        if first {
            self.alert(
                at,
                Event::Exec.failed(),
                &monitrc::Effect::Alert,
                message,
                out,
            );
        }
        self.missing(at, now, out);
    }

    fn checked(
        &mut self,
        at: usize,
        check: Option<usize>,
        event: Event,
        outcome: Outcome,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let entry = &mut self.entries[at];
        if !entry.is_monitored() || entry.phase != Phase::Rest || entry.intent.is_some() {
            return;
        }
        if entry.is_process() && entry.pid.is_none() {
            return;
        }
        let definition = Arc::clone(&entry.definition);
        let (reaction, history) = match check {
            None => (&definition.missing, &mut entry.missing),
            Some(number) => match (definition.checks.get(number), entry.checks.get_mut(number)) {
                (Some(check), Some(history)) => (&check.reaction, history),
                _ => return,
            },
        };
        if entry.monitoring == Monitoring::Init {
            entry.monitoring = Monitoring::Yes;
            self.revision += 1;
        }
        let (failed, recovered) = (&reaction.failed, &reaction.recovered);
        let bad = matches!(outcome, Outcome::Failed(_) | Outcome::Changed(_));
        let verdict = history.observe(bad, failed.rate, recovered.rate);
        match (outcome, verdict) {
            (Outcome::Failed(message), Verdict::Failed { first }) => {
                self.problem(at, event, check, false, &message);
                if first {
                    self.alert(at, event.failed(), &failed.effect, &message, out);
                }
                self.apply(at, &failed.effect, event.failed(), &message, now, out);
            }
            (Outcome::Changed(message), Verdict::Failed { .. }) => {
                self.problem(at, event, check, true, &message);
                self.alert(at, event.changed(), &failed.effect, &message, out);
                self.apply(at, &failed.effect, event.changed(), &message, now, out);
            }
            (Outcome::Succeeded(message), Verdict::Recovered) => {
                if self.entries[at].problems.remove(&(event, check)).is_some() {
                    self.revision += 1;
                }
                self.alert(at, event.succeeded(), &recovered.effect, &message, out);
                self.apply(at, &recovered.effect, event.succeeded(), &message, now, out);
            }
            (Outcome::NotChanged, _) => {
                if self.entries[at].problems.remove(&(event, check)).is_some() {
                    self.revision += 1;
                }
            }
            _ => {}
        }
    }

    fn cycle(&mut self, now: Time, out: &mut Vec<Effect>) {
        for at in 0..self.entries.len() {
            if !self.entries[at].is_monitored() {
                continue;
            }
            self.restart_limits(at, now, out);
            let entry = &mut self.entries[at];
            if !entry.is_monitored() {
                continue;
            }
            entry.skipped += 1;
            if entry.skipped < entry.definition.every {
                continue;
            }
            entry.skipped = 0;
            if entry.phase != Phase::Rest || entry.intent.is_some() {
                continue;
            }
            if entry.is_process() && entry.pid.is_none() {
                self.missing(at, now, out);
            } else if !entry.is_process() || !entry.definition.checks.is_empty() {
                out.push(Effect::Check {
                    name: entry.name().to_owned(),
                });
            }
        }
    }

    /// `if N restarts within M cycles then ...`, counted as monit does: cycles from the first restart on.
    fn restart_limits(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        entry.counted = false;
        if entry.restarts == 0 {
            return;
        }
        entry.cycles += 1;
        let (restarts, cycles) = (entry.restarts, entry.cycles);
        let definition = Arc::clone(&entry.definition);
        if definition
            .restart_limits
            .iter()
            .all(|limit| cycles > limit.cycles)
        {
            entry.restarts = 0;
            entry.cycles = 0;
        }
        for limit in &definition.restart_limits {
            if restarts >= limit.restarts && cycles <= limit.cycles {
                let message = format!(
                    "service restarted {restarts} times within {cycles} cycles(s) - {}",
                    limit.effect.name()
                );
                self.alert(at, Event::Timeout.failed(), &limit.effect, &message, out);
                self.apply(
                    at,
                    &limit.effect,
                    Event::Timeout.failed(),
                    &message,
                    now,
                    out,
                );
                // An unmonitored service shows why it is.
                self.problem(at, Event::Timeout, None, false, &message);
            }
        }
    }

    /// What a check or a death leads to. Never starts what was deliberately stopped or unmonitored.
    fn apply(
        &mut self,
        at: usize,
        effect: &monitrc::Effect,
        event: &'static str,
        description: &str,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let passive = self.entries[at].definition.mode == Mode::Passive;
        match effect {
            monitrc::Effect::Ignore | monitrc::Effect::Alert => {}
            monitrc::Effect::Exec(program) => {
                let what = Run::Exec {
                    event,
                    description: description.to_owned(),
                };
                self.run(at, what, program.clone(), out);
            }
            monitrc::Effect::Monitor => self.act(at, Action::Monitor, now, out),
            monitrc::Effect::Unmonitor => self.act(at, Action::Unmonitor, now, out),
            _ if passive => {}
            monitrc::Effect::Stop => self.act(at, Action::Stop, now, out),
            monitrc::Effect::Start | monitrc::Effect::Restart => {
                self.revision += 1;
                self.count_restart(at);
                let entry = &mut self.entries[at];
                let alive = entry.pid.is_some();
                if alive && *effect == monitrc::Effect::Start {
                    return;
                }
                let bounce = alive || !entry.is_process();
                entry.not_before = now
                    + if alive {
                        Duration::ZERO
                    } else {
                        back_off(entry.failures)
                    };
                entry.intent = Some(if bounce && *effect == monitrc::Effect::Restart {
                    Intent::Bounce
                } else {
                    Intent::Start
                });
                entry.checks.iter_mut().for_each(History::forget);
                for child in self.closure(at, true).into_iter().skip(1) {
                    let child = &mut self.entries[child];
                    let idle = child.phase == Phase::Rest && child.intent.is_none();
                    if child.is_monitored() && child.pid.is_some() && idle {
                        child.intent = Some(Intent::Bounce);
                        child.not_before = now;
                    }
                }
            }
        }
    }

    fn count_restart(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        if !entry.definition.restart_limits.is_empty()
            && !std::mem::replace(&mut entry.counted, true)
        {
            entry.restarts += 1;
        }
    }

    fn problem(
        &mut self,
        at: usize,
        event: Event,
        check: Option<usize>,
        changed: bool,
        message: &str,
    ) {
        let problem = Problem {
            changed,
            message: message.to_owned(),
        };
        if self.entries[at]
            .problems
            .insert((event, check), problem.clone())
            != Some(problem)
        {
            self.revision += 1;
        }
    }

    fn alert(
        &self,
        at: usize,
        event: &'static str,
        effect: &monitrc::Effect,
        description: &str,
        out: &mut Vec<Effect>,
    ) {
        if *effect == monitrc::Effect::Ignore {
            return;
        }
        let entry = &self.entries[at];
        let passive = entry.definition.mode == Mode::Passive
            && matches!(
                effect,
                monitrc::Effect::Start | monitrc::Effect::Stop | monitrc::Effect::Restart
            );
        out.push(Effect::Alert {
            service: entry.name().to_owned(),
            event,
            action: if passive { "alert" } else { effect.name() },
            description: description.to_owned(),
        });
    }

    fn run(
        &mut self,
        at: usize,
        what: Run,
        program: monitrc::Program,
        out: &mut Vec<Effect>,
    ) -> RunId {
        self.next_run += 1;
        let run = RunId(self.next_run);
        out.push(Effect::Run {
            name: self.entries[at].name().to_owned(),
            run,
            what,
            program,
        });
        run
    }

    /// Does what can be done now, until nothing more can.
    fn settle(&mut self, now: Time, out: &mut Vec<Effect>) {
        // Every pass that changes something finishes a step of some service; the limit is for mistakes.
        for _ in 0..4 * self.entries.len() + 4 {
            let mut changed = false;
            for at in 0..self.entries.len() {
                changed |= self.advance(at, now, out);
            }
            if !changed {
                return;
            }
            self.revision += 1;
        }
    }

    fn advance(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) -> bool {
        let entry = &self.entries[at];
        let name = entry.name().to_owned();
        let pid = entry.pid;
        match (entry.phase.clone(), entry.intent) {
            (Phase::Rest, None) => false,
            (Phase::Rest, Some(Intent::Stop | Intent::Bounce)) => self.advance_stop(at, now, out),
            (Phase::Rest, Some(Intent::Start)) => self.advance_start(at, now, out),
            (Phase::Starting { run, deadline }, intent) => {
                if pid.is_some() {
                    let entry = &mut self.entries[at];
                    entry.phase = Phase::Rest;
                    if intent == Some(Intent::Start) {
                        entry.intent = None;
                    }
                    if !entry.must_stop() {
                        self.up(at, now, out);
                    }
                    return true;
                }
                if now < deadline {
                    return false;
                }
                out.push(Effect::KillRun { name, run });
                self.entries[at].phase = Phase::Rest;
                self.start_failed(at, "failed to start", now, out);
                true
            }
            (
                Phase::Stopping {
                    run,
                    running,
                    deadline,
                    kill_at,
                    reported,
                },
                intent,
            ) => {
                if pid.is_none() && !running {
                    let entry = &mut self.entries[at];
                    entry.phase = Phase::Rest;
                    entry.finish_stop(intent);
                    return true;
                }
                if now >= deadline && !reported {
                    if running {
                        out.push(Effect::KillRun { name, run });
                    }
                    self.entries[at].phase = Phase::Stopping {
                        run,
                        running: false,
                        deadline,
                        kill_at,
                        reported: true,
                    };
                    if pid.is_some() {
                        self.problem(at, Event::Exec, None, false, "failed to stop");
                        self.alert(
                            at,
                            Event::Exec.failed(),
                            &monitrc::Effect::Alert,
                            "failed to stop",
                            out,
                        );
                    }
                    return true;
                }
                if let Some(pid) = pid
                    && now >= kill_at
                {
                    out.push(Effect::KillProcess { name, pid });
                    let kill_at = now + Duration::from_secs(5);
                    self.entries[at].phase = Phase::Stopping {
                        run,
                        running,
                        deadline,
                        kill_at,
                        reported,
                    };
                }
                false
            }
        }
    }

    fn advance_stop(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) -> bool {
        let entry = &self.entries[at];
        let intent = entry.intent;
        if entry.is_process() && entry.pid.is_none() {
            self.entries[at].finish_stop(intent);
            return true;
        }
        if entry
            .dependants
            .iter()
            .any(|child| self.entries[*child].must_stop())
        {
            return false;
        }
        let Some(program) = entry.definition.stop.clone() else {
            // As monit: what has no stop program is no longer looked after, but runs on.
            let is_process = entry.is_process();
            let entry = &mut self.entries[at];
            entry.intent = None;
            if intent == Some(Intent::Bounce) && is_process {
                entry.monitoring = Monitoring::Yes;
                self.problem(at, Event::Exec, None, false, "stop method not defined");
            } else {
                entry.finish_stop(intent);
            }
            return true;
        };
        let is_process = entry.is_process();
        let deadline = now + program.timeout;
        let run = self.run(at, Run::Stop, program, out);
        let kill_at = now + self.policy.kill_after;
        let entry = &mut self.entries[at];
        if is_process {
            entry.phase = Phase::Stopping {
                run,
                running: true,
                deadline,
                kill_at: kill_at.max(deadline),
                reported: false,
            };
        } else {
            entry.finish_stop(intent);
        }
        true
    }

    fn advance_start(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) -> bool {
        let entry = &self.entries[at];
        if now < entry.not_before {
            return false;
        }
        if entry.pid.is_some() {
            self.entries[at].intent = None;
            self.up(at, now, out);
            return true;
        }
        let ready = |parent: &Entry| {
            parent.is_up()
                || (!parent.is_monitored()
                    && parent.intent.is_none()
                    && parent.phase == Phase::Rest)
        };
        if !entry
            .depends
            .iter()
            .all(|parent| ready(&self.entries[*parent]))
        {
            return false;
        }
        let is_process = entry.is_process();
        let Some(program) = entry.definition.start.clone() else {
            self.entries[at].intent = None;
            if is_process {
                self.problem(at, Event::Exec, None, false, "start method not defined");
            }
            return true;
        };
        let deadline = now + program.timeout;
        let run = self.run(at, Run::Start, program, out);
        let entry = &mut self.entries[at];
        if is_process {
            entry.phase = Phase::Starting { run, deadline };
        } else {
            entry.intent = None;
        }
        true
    }
}

impl Entry {
    /// Counters and problems begin anew.
    fn reset(&mut self) {
        self.problems.clear();
        self.missing = History::default();
        self.checks
            .iter_mut()
            .for_each(|history| *history = History::default());
        self.restarts = 0;
        self.cycles = 0;
        self.failures = 0;
        self.skipped = 0;
    }

    fn finish_stop(&mut self, intent: Option<Intent>) {
        self.intent = (intent == Some(Intent::Bounce)).then_some(Intent::Start);
        if self.intent.is_none() {
            self.problems.clear();
        }
    }
}
