//! The world around the state machine, for its tests: programs and processes that do as the test says, and what must never be
//! done to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Machine, Policy};
use super::{Action, Effect, Input, Notice, Run, RunId, Saved, Snapshot};
use crate::supervisor::monitrc;

pub(super) fn definitions(text: &str) -> Vec<Arc<monitrc::Service>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rc");
    std::fs::write(&path, text).unwrap();
    let result = monitrc::load(&[path]);
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    result.config.services.into_iter().map(Arc::new).collect()
}

pub(super) fn job(name: &str, more: &str) -> String {
    format!(
        "check process {name} with pidfile /{name}\n start program \"/start {name}\"\n stop program \"/stop {name}\"\n{more}\n"
    )
}

/// A program that was started in the world.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) run: RunId,
    pub(super) what: Run,
}

/// What is outside of the machine, and what it must never do to it.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: Duration,
    pub(super) next_pid: i32,
    pub(super) alive: BTreeMap<String, i32>,
    pub(super) programs: Vec<Program>,
    pub(super) alerts: Vec<(String, &'static str, &'static str)>,
    pub(super) log: Vec<String>,
    pub(super) checks: Vec<String>,
    pub(super) depends: HashMap<String, Vec<String>>,
    /// Services somebody stopped or unmonitored and did not ask for since.
    pub(super) left_alone: Vec<String>,
    /// Services whose leftovers are being ended, if that takes time.
    pub(super) sweeping: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(text: &str) -> Self {
        Self::with(text, &BTreeMap::new(), false)
    }

    pub(super) fn with(text: &str, saved: &BTreeMap<String, Saved>, stopped: bool) -> Self {
        let definitions = definitions(text);
        let depends = definitions
            .iter()
            .map(|service| (service.name.clone(), service.depends.clone()))
            .collect();
        let mut world = Self {
            machine: Machine::new(Policy::default()),
            now: Duration::from_secs(1000),
            next_pid: 100,
            alive: BTreeMap::new(),
            programs: Vec::new(),
            alerts: Vec::new(),
            log: Vec::new(),
            checks: Vec::new(),
            depends,
            left_alone: Vec::new(),
            sweeping: None,
        };
        world.machine.load(world.now, definitions, saved, stopped);
        world
    }

    /// The first look.
    pub(super) fn look(&mut self) {
        let names: Vec<String> = self.machine.names().map(str::to_owned).collect();
        for name in names {
            let pid = self.alive.get(&name).copied();
            self.feed(Input::Found { name, pid });
        }
    }

    pub(super) fn feed(&mut self, input: Input) {
        let mut effects = self.machine.step(self.now, input);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                self.perform(effect);
            }
        }
    }

    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Run {
                name, run, what, ..
            } => {
                match what {
                    Run::Start => {
                        let swept = self.sweeping.as_ref();
                        assert!(
                            swept.is_none_or(|names| !names.contains(&name)),
                            "{name} is not down yet"
                        );
                        assert!(!self.alive.contains_key(&name), "a second copy of {name}");
                        let twice = self
                            .programs
                            .iter()
                            .any(|program| program.name == name && program.what != Run::Stop);
                        assert!(!twice, "{name} is started twice at a time");
                        assert!(
                            !self.left_alone.contains(&name),
                            "{name} is started though it was stopped"
                        );
                        for parent in &self.depends[&name] {
                            let stopping = self
                                .programs
                                .iter()
                                .any(|p| p.name == *parent && p.what == Run::Stop);
                            // A prerequisite nobody looks after is nobody's business, either.
                            let ignored = self.snapshot(parent).is_down();
                            let up = self.alive.contains_key(parent) && !stopping;
                            assert!(up || ignored, "{name} is started before {parent}");
                        }
                        self.log.push(format!("start {name}"));
                    }
                    Run::Stop => {
                        assert!(
                            self.alive.contains_key(&name),
                            "{name} is stopped though it does not run"
                        );
                        self.log.push(format!("stop {name}"));
                    }
                    Run::Restart => {
                        assert!(self.alive.contains_key(&name), "{name} does not run");
                        assert!(!self.left_alone.contains(&name), "{name} was stopped");
                        self.log.push(format!("restart {name}"));
                    }
                    Run::Exec { .. } => self.log.push(format!("exec {name}")),
                }
                self.programs.push(Program { name, run, what });
            }
            Effect::KillRun { run, .. } => self.programs.retain(|program| program.run != run),
            Effect::KillProcess { name, pid } => {
                assert_eq!(self.alive.get(&name), Some(&pid));
                self.log.push(format!("kill {name}"));
                self.die(&name);
            }
            Effect::Sweep { name } => {
                assert!(!self.alive.contains_key(&name), "{name} still runs");
                match &mut self.sweeping {
                    Some(sweeping) => sweeping.push(name),
                    None => self.feed(Input::Swept { name }),
                }
            }
            Effect::Check { name } => self.checks.push(name),
            Effect::Alert {
                service,
                event,
                action,
                ..
            } => self.alerts.push((service, event, action)),
        }
    }

    pub(super) fn act(&mut self, name: &str, action: Action) {
        let down = |world: &Self, name: &str| -> Vec<String> {
            let mut all = vec![name.to_owned()];
            let mut at = 0;
            while at < all.len() {
                let of = all[at].clone();
                let children = world
                    .depends
                    .iter()
                    .filter(|(child, parents)| parents.contains(&of) && !all.contains(child));
                let children: Vec<String> = children.map(|(child, _)| child.clone()).collect();
                all.extend(children);
                at += 1;
            }
            all
        };
        let mut parents = vec![name.to_owned()];
        let mut at = 0;
        while at < parents.len() {
            parents.extend(self.depends[&parents[at]].clone());
            at += 1;
        }
        match action {
            Action::Stop => self.left_alone.extend(down(self, name)),
            // A restart that is under way is finished: to unmonitor is not to stop.
            Action::Unmonitor => {
                let children = down(self, name)
                    .into_iter()
                    .filter(|child| self.snapshot(child).pending != Some(Action::Restart));
                let children: Vec<String> = children.collect();
                self.left_alone.extend(children);
            }
            Action::Monitor => self.left_alone.retain(|own| !parents.contains(own)),
            Action::Start | Action::Restart => {
                let children = down(self, name);
                self.left_alone.retain(|own| {
                    !(children.contains(own) || (action == Action::Start && parents.contains(own)))
                });
            }
        }
        self.feed(Input::Act {
            name: name.to_owned(),
            action,
        });
    }

    /// The oldest program of that kind does what it should.
    pub(super) fn finish(&mut self, well: bool) {
        if self.programs.is_empty() {
            return;
        }
        let program = self.programs.remove(0);
        let Program { name, run, what } = program;
        if well && matches!(what, Run::Start | Run::Restart) {
            if what == Run::Restart {
                self.die(&name);
            }
            self.next_pid += 1;
            self.alive.insert(name.clone(), self.next_pid);
            self.feed(Input::Ended {
                name: name.clone(),
                run,
                well,
            });
            let pid = self.alive.get(&name).copied();
            self.feed(Input::Found { name, pid });
        } else if well && what == Run::Stop {
            self.die(&name);
            self.feed(Input::Ended { name, run, well });
        } else {
            self.feed(Input::Ended { name, run, well });
        }
    }

    /// Nothing is left of those that were swept.
    pub(super) fn swept(&mut self) {
        for name in self
            .sweeping
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
        {
            self.feed(Input::Swept { name });
        }
    }

    /// A process says something.
    pub(super) fn notice(&mut self, name: &str, notice: Notice) {
        if self.alive.contains_key(name) {
            let name = name.to_owned();
            self.feed(Input::Notified { name, notice });
        }
    }

    pub(super) fn finish_all(&mut self) {
        for _ in 0..100 {
            self.finish(true);
        }
        assert!(self.programs.is_empty());
    }

    pub(super) fn die(&mut self, name: &str) {
        if let Some(pid) = self.alive.remove(name) {
            self.feed(Input::Died {
                name: name.to_owned(),
                pid,
            });
        }
    }

    /// Time passes, in steps of deadlines.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self
            .machine
            .next_deadline(self.now)
            .filter(|deadline| *deadline <= end)
        {
            self.now = self.now.max(deadline);
            let before = self.machine.revision;
            self.feed(Input::Tick);
            if self.machine.revision == before
                && self
                    .machine
                    .next_deadline(self.now)
                    .is_some_and(|next| next <= self.now)
            {
                self.now += Duration::from_millis(1);
            }
        }
        self.now = end;
        self.feed(Input::Tick);
    }

    pub(super) fn cycle(&mut self) {
        self.pass(Duration::from_secs(10));
        self.feed(Input::Cycle);
    }

    pub(super) fn snapshot(&self, name: &str) -> Snapshot {
        let all = self.machine.snapshots(Duration::ZERO, |_| None);
        all.into_iter()
            .find(|snapshot| snapshot.name == name)
            .unwrap()
    }

    pub(super) fn alerted(&self, event: &str) -> usize {
        self.alerts
            .iter()
            .filter(|(_, own, _)| *own == event)
            .count()
    }
}
