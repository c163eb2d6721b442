//! What is seen of the world: processes that turn up and die, programs that end, checks and cycles.

use std::sync::Arc;

use super::entry::{Intent, Phase, Verdict};
use super::events::Event;
use super::machine::Machine;
use super::types::{Effect, Monitoring, Notice, Outcome, RunId, Time};
use crate::supervisor::monitrc::{self, Rate};

impl Machine {
    pub(super) fn found(&mut self, at: usize, pid: Option<i32>, now: Time, out: &mut Vec<Effect>) {
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
                entry.petted = now;
                // One that nobody here started has said so long ago.
                entry.ready |= entry.phase == Phase::Rest;
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

    pub(super) fn died(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
        self.revision += 1;
        let stable = self.policy.stable_after;
        let entry = &mut self.entries[at];
        entry.pid = None;
        if matches!(entry.phase, Phase::Restarting { .. }) {
            return;
        }
        entry.ready = false;
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
    pub(super) fn missing(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
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
    pub(super) fn up(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
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

    pub(super) fn ended(&mut self, at: usize, ended: RunId, well: bool, now: Time) {
        let grace = self.policy.grace;
        match &mut self.entries[at].phase {
            Phase::Starting { run, deadline } if *run == ended && !well => {
                *deadline = (*deadline).min(now + grace)
            }
            Phase::Stopping { run, running, .. } if *run == ended => {
                *running = false;
                self.revision += 1;
            }
            Phase::Restarting {
                run,
                running,
                deadline,
            } if *run == ended => {
                *running = false;
                if !well {
                    *deadline = (*deadline).min(now + grace);
                }
                self.revision += 1;
            }
            _ => {}
        }
    }

    pub(super) fn not_run(
        &mut self,
        at: usize,
        failed: RunId,
        problem: &str,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        match &mut self.entries[at].phase {
            Phase::Starting { run, .. } | Phase::Restarting { run, .. } if *run == failed => {
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

    pub(super) fn start_failed(
        &mut self,
        at: usize,
        message: &str,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
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

    pub(super) fn checked(
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
        if event == Event::ParentPid {
            if let Outcome::Changed(message) = outcome {
                let effect = &definition.ppid_changed.effect;
                self.alert(at, event.changed(), effect, &message, out);
                self.apply(at, effect, event.changed(), &message, now, out);
            }
            return;
        }
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
                let problems = &mut self.entries[at].problems;
                // A thing that exists also has the right type and can be measured.
                problems.retain(|(other, own), _| {
                    *own != check || (check.is_none() && *other == Event::Exec)
                });
                self.revision += 1;
                self.alert(at, event.succeeded(), &recovered.effect, &message, out);
                self.apply(at, &recovered.effect, event.succeeded(), &message, now, out);
            }
            (Outcome::NotChanged, _)
                if self.entries[at].problems.remove(&(event, check)).is_some() =>
            {
                self.revision += 1;
            }
            _ => {}
        }
    }

    pub(super) fn notified(&mut self, at: usize, notice: Notice, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        if entry.definition.watchdog.is_none() {
            return;
        }
        match notice {
            Notice::Ready => entry.ready = true,
            Notice::Alive => {}
            Notice::Interval(interval) => entry.interval = Some(interval),
            Notice::Trigger => return self.bite(at, "asked for its watchdog", now, out),
        }
        entry.petted = now;
        if entry.problems.remove(&(Event::Heartbeat, None)).is_some() {
            self.revision += 1;
            let (event, effect) = (Event::Heartbeat.succeeded(), monitrc::Effect::Alert);
            self.alert(at, event, &effect, "process is well again", out);
        }
    }

    /// A process is silent for too long.
    pub(super) fn bite(&mut self, at: usize, what: &str, now: Time, out: &mut Vec<Effect>) {
        let entry = &mut self.entries[at];
        let Some(watchdog) = entry.definition.watchdog.clone() else {
            return;
        };
        if !entry.is_monitored() || entry.phase != Phase::Rest || entry.intent.is_some() {
            return;
        }
        entry.petted = now;
        entry.hung = true;
        let first = !entry.problems.contains_key(&(Event::Heartbeat, None));
        let message = format!("process {what}");
        let event = Event::Heartbeat.failed();
        self.problem(at, Event::Heartbeat, None, false, &message);
        if first {
            self.alert(at, event, &watchdog.effect, &message, out);
        }
        self.apply(at, &watchdog.effect, event, &message, now, out);
    }

    pub(super) fn cycle(&mut self, now: Time, out: &mut Vec<Effect>) {
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
            } else if !entry.is_process() && !entry.needs_checks() {
                // The system, and nothing is asked about it.
                if entry.monitoring == Monitoring::Init {
                    entry.monitoring = Monitoring::Yes;
                    self.revision += 1;
                }
            } else if entry.needs_checks() {
                out.push(Effect::Check {
                    name: entry.name().to_owned(),
                });
            }
        }
    }

    /// `if N restarts within M cycles then ...`, counted as monit does: cycles from the first restart on.
    pub(super) fn restart_limits(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
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
}
