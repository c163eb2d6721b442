//! What is done: effects of events, and intents carried out step by step in the order of the dependencies.

use std::time::Duration;

use super::entry::{Entry, History, Intent, Phase, Problem};
use super::events::Event;
use super::machine::{Machine, back_off};
use super::types::{Action, Effect, Monitoring, Run, RunId, Time};
use crate::supervisor::monitrc::{self, Mode};

impl Machine {
    /// What a check or a death leads to. Never starts what was deliberately stopped or unmonitored.
    pub(super) fn apply(
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

    pub(super) fn count_restart(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        if !entry.definition.restart_limits.is_empty()
            && !std::mem::replace(&mut entry.counted, true)
        {
            entry.restarts += 1;
        }
    }

    pub(super) fn problem(
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
        // Something is known about it now.
        if self.entries[at].monitoring == Monitoring::Init {
            self.entries[at].monitoring = Monitoring::Yes;
        }
        if self.entries[at]
            .problems
            .insert((event, check), problem.clone())
            != Some(problem)
        {
            self.revision += 1;
        }
    }

    pub(super) fn alert(
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

    pub(super) fn run(
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
    pub(super) fn settle(&mut self, now: Time, out: &mut Vec<Effect>) {
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

    pub(super) fn advance(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) -> bool {
        let entry = &self.entries[at];
        if entry.is_unknown() {
            return false;
        }
        if entry.phase == Phase::Rest && entry.intent.is_none() {
            if entry.watchdog().is_some_and(|due| now >= due) {
                self.bite(at, "did not pet its watchdog in time", now, out);
                return true;
            }
            return false;
        }
        let name = entry.name().to_owned();
        let pid = entry.pid;
        match (entry.phase.clone(), entry.intent) {
            (Phase::Rest, None) | (Phase::Sweeping, _) => false,
            (Phase::Rest, Some(Intent::Stop | Intent::Bounce)) => self.advance_stop(at, now, out),
            (Phase::Rest, Some(Intent::Start)) => self.advance_start(at, now, out),
            (
                Phase::Restarting {
                    run,
                    running,
                    deadline,
                },
                intent,
            ) => {
                let well = pid.is_some() && (entry.is_ready() || entry.must_stop());
                if now < deadline && (running || !well) {
                    return false;
                }
                if running {
                    let name = name.clone();
                    out.push(Effect::KillRun { name, run });
                }
                self.entries[at].phase = Phase::Rest;
                if !well {
                    // It may run and not have said that it is ready.
                    out.extend(pid.map(|pid| Effect::KillProcess { name, pid }));
                    self.start_failed(at, "failed to restart", now, out);
                    return true;
                }
                let entry = &mut self.entries[at];
                if intent == Some(Intent::Start) {
                    entry.intent = None;
                }
                if !entry.must_stop() {
                    self.up(at, now, out);
                }
                true
            }
            (Phase::Starting { run, deadline }, intent) => {
                // One that is to be stopped need not get ready before.
                if pid.is_some() && (entry.is_ready() || entry.must_stop()) {
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
                let message = match pid {
                    // It runs but did not say that it is ready.
                    Some(pid) => {
                        let name = self.entries[at].name().to_owned();
                        out.push(Effect::KillProcess { name, pid });
                        "failed to start: process did not become ready"
                    }
                    None => "failed to start",
                };
                self.start_failed(at, message, now, out);
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
                _,
            ) => {
                if pid.is_none() && !running {
                    self.entries[at].phase = Phase::Sweeping;
                    out.push(Effect::Sweep { name });
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

    pub(super) fn advance_stop(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) -> bool {
        let entry = &self.entries[at];
        let intent = entry.intent;
        if entry.is_process() && entry.pid.is_none() {
            let name = entry.name().to_owned();
            self.entries[at].phase = Phase::Sweeping;
            out.push(Effect::Sweep { name });
            return true;
        }
        if entry
            .dependants
            .iter()
            .any(|child| self.entries[*child].must_stop())
        {
            return false;
        }
        if intent == Some(Intent::Bounce)
            && let Some(program) = entry.definition.restart.clone()
        {
            self.advance_restart(at, program, now, out);
            return true;
        }
        let Some(program) = entry.definition.stop.clone() else {
            // As monit: what has no stop program is no longer looked after, but runs on.
            let is_process = entry.is_process();
            let entry = &mut self.entries[at];
            entry.intent = None;
            if intent == Some(Intent::Bounce) && is_process {
                // It runs, but cannot be restarted.
                entry.monitoring = Monitoring::Yes;
            } else {
                entry.finish_stop(intent);
            }
            return true;
        };
        let is_process = entry.is_process();
        let deadline = now + program.timeout;
        let run = self.run(at, Run::Stop, program, out);
        let entry = &mut self.entries[at];
        // One that hangs is not expected to do much more.
        let kill_at = if std::mem::take(&mut entry.hung) {
            deadline
        } else {
            now + self.policy.kill_after
        };
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

    fn advance_restart(
        &mut self,
        at: usize,
        program: monitrc::Program,
        now: Time,
        out: &mut Vec<Effect>,
    ) {
        let deadline = now + program.timeout;
        let run = self.run(at, Run::Restart, program, out);
        let entry = &mut self.entries[at];
        entry.intent = None;
        (entry.ready, entry.interval, entry.hung) = (false, None, false);
        if entry.is_process() {
            entry.intent = Some(Intent::Start);
            entry.phase = Phase::Restarting {
                run,
                running: true,
                deadline,
            };
        }
    }

    pub(super) fn advance_start(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) -> bool {
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
                    && !parent.is_unknown()
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
            // As monit: that it is missing is problem enough.
            self.entries[at].intent = None;
            return true;
        };
        let deadline = now + program.timeout;
        let run = self.run(at, Run::Start, program, out);
        let entry = &mut self.entries[at];
        (entry.ready, entry.interval, entry.hung) = (false, None, false);
        if is_process {
            entry.phase = Phase::Starting { run, deadline };
        } else {
            entry.intent = None;
        }
        true
    }
}
