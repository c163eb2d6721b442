//! What somebody asks for, turned into intents along the dependencies.

use super::entry::{Entry, History, Intent, Phase};
use super::machine::Machine;
use super::types::{Action, Effect, Monitoring, Time};

impl Machine {
    pub(super) fn act(&mut self, at: usize, action: Action, now: Time, out: &mut Vec<Effect>) {
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

    pub(super) fn want_up(&mut self, at: usize, now: Time, out: &mut Vec<Effect>) {
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

    pub(super) fn want_down(&mut self, at: usize) {
        let entry = &mut self.entries[at];
        entry.monitoring = Monitoring::No;
        entry.intent = Some(Intent::Stop);
        entry.reset();
    }

    pub(super) fn want_again(&mut self, at: usize, now: Time) {
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
}

impl Entry {
    /// Counters and problems begin anew.
    pub(super) fn reset(&mut self) {
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

    pub(super) fn finish_stop(&mut self, intent: Option<Intent>) {
        self.intent = (intent == Some(Intent::Bounce)).then_some(Intent::Start);
        if self.intent.is_none() {
            self.problems.clear();
        }
    }
}
