//! The state machine against a simulated world: examples, and properties that hold whatever happens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::machine::{Machine, Policy};
use super::{
    Action, Effect, Event, Input, Monitoring, Notice, Outcome, Run, RunId, Saved, Snapshot,
};
use crate::supervisor::monitrc;

fn definitions(text: &str) -> Vec<Arc<monitrc::Service>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rc");
    std::fs::write(&path, text).unwrap();
    let result = monitrc::load(&[path]);
    assert!(result.errors.is_empty(), "{:?}", result.errors);
    result.config.services.into_iter().map(Arc::new).collect()
}

fn job(name: &str, more: &str) -> String {
    format!(
        "check process {name} with pidfile /{name}\n start program \"/start {name}\"\n stop program \"/stop {name}\"\n{more}\n"
    )
}

/// A program that was started in the world.
#[derive(Clone, Debug)]
struct Program {
    name: String,
    run: RunId,
    what: Run,
}

/// What is outside of the machine, and what it must never do to it.
struct World {
    machine: Machine,
    now: Duration,
    next_pid: i32,
    alive: BTreeMap<String, i32>,
    programs: Vec<Program>,
    alerts: Vec<(String, &'static str, &'static str)>,
    log: Vec<String>,
    checks: Vec<String>,
    depends: HashMap<String, Vec<String>>,
    /// Services somebody stopped or unmonitored and did not ask for since.
    left_alone: Vec<String>,
}

impl World {
    fn new(text: &str) -> Self {
        Self::with(text, &BTreeMap::new(), false)
    }

    fn with(text: &str, saved: &BTreeMap<String, Saved>, stopped: bool) -> Self {
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
        };
        world.machine.load(world.now, definitions, saved, stopped);
        world
    }

    /// The first look.
    fn look(&mut self) {
        let names: Vec<String> = self.machine.names().map(str::to_owned).collect();
        for name in names {
            let pid = self.alive.get(&name).copied();
            self.feed(Input::Found { name, pid });
        }
    }

    fn feed(&mut self, input: Input) {
        let mut effects = self.machine.step(self.now, input);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                self.perform(effect);
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Run {
                name, run, what, ..
            } => {
                match what {
                    Run::Start => {
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
                self.feed(Input::Swept { name });
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

    fn act(&mut self, name: &str, action: Action) {
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
    fn finish(&mut self, well: bool) {
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

    fn finish_all(&mut self) {
        for _ in 0..100 {
            self.finish(true);
        }
        assert!(self.programs.is_empty());
    }

    fn die(&mut self, name: &str) {
        if let Some(pid) = self.alive.remove(name) {
            self.feed(Input::Died {
                name: name.to_owned(),
                pid,
            });
        }
    }

    /// Time passes, in steps of deadlines.
    fn pass(&mut self, duration: Duration) {
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

    fn cycle(&mut self) {
        self.pass(Duration::from_secs(10));
        self.feed(Input::Cycle);
    }

    fn snapshot(&self, name: &str) -> Snapshot {
        let all = self.machine.snapshots(Duration::ZERO, |_| None);
        all.into_iter()
            .find(|snapshot| snapshot.name == name)
            .unwrap()
    }

    fn alerted(&self, event: &str) -> usize {
        self.alerts
            .iter()
            .filter(|(_, own, _)| *own == event)
            .count()
    }
}

#[test]
fn a_new_service_is_started_without_an_alert() {
    let mut world = World::new(&job("a", ""));
    world.look();
    assert_eq!(world.log, ["start a"]);
    assert_eq!(world.snapshot("a").state, "starting");
    world.finish(true);
    assert_eq!(world.snapshot("a").state, "running");
    assert_eq!(world.alerts, []);
}

#[test]
fn nothing_is_started_on_an_instance_that_was_stopped() {
    let text = job("a", "group vcap") + &job("b", "");
    let mut world = World::with(&text, &BTreeMap::new(), true);
    world.look();
    world.cycle();
    assert_eq!(world.log, ["start b"], "only the group was stopped");
    assert_eq!(world.snapshot("a").monitoring, Monitoring::No);
}

#[test]
fn restarts_back_off_and_a_long_life_forgives() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.finish(true);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let died = world.now;
        world.die("a");
        while world.programs.is_empty() {
            world.pass(Duration::from_millis(500));
        }
        pauses.push((world.now - died).as_secs());
        world.finish(true);
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
    world.pass(Duration::from_secs(61));
    world.die("a");
    assert_eq!(world.programs.len(), 1, "restarted at once");
    assert_eq!(world.alerted("Does not exist"), 10);
    assert_eq!(world.alerted("Exists"), 9);
}

#[test]
fn a_start_that_fails_is_alerted_once_and_tried_again() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.pass(Duration::from_secs(31));
    assert_eq!(world.alerted("Execution failed"), 1);
    world.pass(Duration::from_secs(300));
    assert!(world.log.len() > 3, "{:?}", world.log);
    assert_eq!(world.alerted("Execution failed"), 1);
    assert_eq!(world.snapshot("a").state, "failing");
    while world.programs.is_empty() {
        world.pass(Duration::from_millis(100));
    }
    world.finish(true);
    assert_eq!(world.snapshot("a").state, "running");
    assert_eq!(world.alerted("Execution succeeded"), 1);
}

#[test]
fn a_start_program_that_fails_gets_two_more_seconds() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.finish(false);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.alerted("Execution failed"), 0);
    world.feed(Input::Found {
        name: "a".to_owned(),
        pid: Some(7),
    });
    assert_eq!(world.snapshot("a").state, "running");
}

#[test]
fn stop_and_start_follow_the_dependencies() {
    let text = job("c", "depends on b") + &job("b", "depends on a") + &job("a", "");
    let mut world = World::new(&text);
    world.look();
    world.finish_all();
    assert_eq!(world.log, ["start a", "start b", "start c"]);
    world.act("a", Action::Stop);
    world.finish_all();
    assert_eq!(world.log[3..], ["stop c", "stop b", "stop a"]);
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|name| world.snapshot(name).is_down())
    );
    world.act("c", Action::Start);
    world.finish_all();
    assert_eq!(world.log[6..], ["start a", "start b", "start c"]);
    world.act("b", Action::Restart);
    world.finish_all();
    assert_eq!(world.log[9..], ["stop c", "stop b", "start b", "start c"]);
}

#[test]
fn a_dead_prerequisite_takes_its_dependants_through_a_restart() {
    let mut world = World::new(&(job("a", "") + &job("b", "depends on a")));
    world.look();
    world.finish_all();
    world.die("a");
    world.finish_all();
    assert_eq!(world.log[2..], ["start a", "stop b", "start b"]);
}

#[test]
fn a_stopped_dependant_is_not_started_with_its_prerequisite() {
    let mut world = World::new(&(job("a", "") + &job("b", "depends on a")));
    world.look();
    world.finish_all();
    world.act("b", Action::Stop);
    world.finish_all();
    world.die("a");
    world.finish_all();
    world.cycle();
    assert_eq!(world.log[2..], ["stop b", "start a"]);
}

#[test]
fn a_process_that_does_not_stop_is_killed() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.finish_all();
    world.act("a", Action::Stop);
    world.pass(Duration::from_secs(31));
    assert_eq!(world.alerted("Execution failed"), 1);
    assert_eq!(world.snapshot("a").pending, Some(Action::Stop));
    assert_eq!(world.snapshot("a").status, Event::Exec.bit());
    world.pass(Duration::from_secs(270));
    assert_eq!(world.log, ["start a", "stop a", "kill a"]);
    assert!(world.snapshot("a").is_down());
}

#[test]
fn a_stop_during_a_start_waits_for_it() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.act("a", Action::Stop);
    assert_eq!(world.log, ["start a"]);
    world.finish(true);
    assert_eq!(world.log, ["start a", "stop a"]);
    world.finish(true);
    assert!(world.snapshot("a").is_down());
    assert!(world.alive.is_empty());
}

#[test]
fn a_start_during_a_stop_starts_again() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.finish_all();
    world.act("a", Action::Stop);
    world.act("a", Action::Start);
    world.finish_all();
    assert_eq!(world.log, ["start a", "stop a", "start a"]);
    assert_eq!(world.snapshot("a").state, "running");
}

#[test]
fn checks_count_cycles_and_recover() {
    let mut world = World::new(&job("a", "if cpu > 90% for 3 cycles then restart"));
    world.look();
    world.finish_all();
    let check = |world: &mut World, bad: bool| {
        let outcome = if bad {
            Outcome::Failed("hot".to_owned())
        } else {
            Outcome::Succeeded("cool".to_owned())
        };
        world.feed(Input::Checked {
            name: "a".to_owned(),
            check: Some(0),
            event: Event::Resource,
            outcome,
        });
    };
    for bad in [true, true, false, true, true] {
        check(&mut world, bad);
    }
    assert_eq!(world.log, ["start a"]);
    check(&mut world, true);
    world.finish_all();
    assert_eq!(world.log, ["start a", "stop a", "start a"]);
    assert_eq!(
        world.alerts,
        [("a".to_owned(), "Resource limit matched", "restart")]
    );
    // Counting begins anew after the restart, and the problem lasts until it is over.
    check(&mut world, true);
    assert_eq!(world.snapshot("a").state, "failing");
    check(&mut world, false);
    assert_eq!(world.snapshot("a").state, "running");
    assert_eq!(
        world.alerts[1],
        ("a".to_owned(), "Resource limit succeeded", "alert")
    );
}

#[test]
fn too_many_restarts_unmonitor() {
    let mut world = World::new(&job("a", "if 3 restarts within 5 cycles then timeout"));
    world.look();
    world.finish_all();
    for _ in 0..3 {
        // Two deaths in a cycle count once.
        for _ in 0..2 {
            world.die("a");
            world.pass(Duration::from_secs(31));
            world.finish_all();
        }
        world.feed(Input::Cycle);
    }
    assert_eq!(world.snapshot("a").monitoring, Monitoring::No);
    assert_eq!(world.alerted("Timeout"), 1);
    let starts = world.log.len();
    world.die("a");
    world.cycle();
    assert_eq!(world.log.len(), starts);
}

#[test]
fn passive_services_only_alert() {
    let mut world = World::new(&job("a", "mode passive"));
    world.look();
    assert!(world.log.is_empty());
    world.act("a", Action::Start);
    world.finish_all();
    world.die("a");
    assert_eq!(world.log, ["start a"]);
    assert_eq!(world.alerts, [("a".to_owned(), "Does not exist", "alert")]);
}

#[test]
fn manual_services_wait_for_a_hand() {
    let mut world = World::new(&job("a", "mode manual"));
    world.look();
    world.cycle();
    assert!(world.log.is_empty());
    world.act("a", Action::Start);
    world.finish_all();
    world.die("a");
    assert_eq!(world.log, ["start a", "start a"]);
}

#[test]
fn missing_for_some_cycles() {
    let mut world = World::new(&job("a", "if does not exist for 3 cycles then restart"));
    world.alive.insert("a".to_owned(), 5);
    world.look();
    world.die("a");
    world.cycle();
    world.cycle();
    assert!(world.log.is_empty());
    world.cycle();
    assert_eq!(world.log, ["start a"]);
}

#[test]
fn another_pid_is_a_change_and_not_a_death() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.finish_all();
    world.feed(Input::Found {
        name: "a".to_owned(),
        pid: Some(4711),
    });
    assert_eq!(world.alerts, [("a".to_owned(), "PID changed", "alert")]);
    assert_eq!(world.log, ["start a"]);
    assert_eq!(world.snapshot("a").pid, Some(4711));
}

#[test]
fn services_are_checked_every_so_many_cycles() {
    let mut world = World::new(&job("a", "every 3 cycles\nif cpu > 1% then alert"));
    world.look();
    world.finish_all();
    for _ in 0..7 {
        world.cycle();
    }
    assert_eq!(world.checks.len(), 2);
}

#[test]
fn an_unfinished_stop_is_taken_up_again() {
    let mut world = World::new(&job("a", ""));
    world.look();
    world.finish_all();
    world.act("a", Action::Stop);
    let saved = world.machine.saved();
    let mut next = World::with(&job("a", ""), &saved, false);
    next.alive = world.alive.clone();
    next.look();
    assert_eq!(next.log, ["stop a"]);
    next.finish_all();
    assert!(next.snapshot("a").is_down());
}

#[test]
fn a_restart_program_takes_the_place_of_stop_and_start() {
    let text = job("a", "restart program \"/again a\"") + &job("b", "depends on a");
    let mut world = World::new(&text);
    world.look();
    world.finish_all();
    world.log.clear();
    world.act("a", Action::Restart);
    world.finish_all();
    assert_eq!(
        world.log,
        ["stop b", "restart a", "start b"],
        "the dependants go down and come up around it"
    );
    // One that does not run is started.
    world.act("b", Action::Stop);
    world.act("a", Action::Stop);
    world.finish_all();
    world.log.clear();
    world.act("a", Action::Restart);
    world.finish_all();
    assert_eq!(world.log[0], "start a");
    // One that fails leaves a process that can be restarted again, or none that is started.
    world.act("a", Action::Restart);
    world.finish_all();
    world.act("a", Action::Restart);
    world.finish_all();
    world.log.clear();
    world.act("a", Action::Restart);
    while world.log.last().is_none_or(|line| line != "restart a") {
        world.finish(true);
    }
    world.die("a");
    world.finish(false);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.alerted("Execution failed"), 1);
    world.finish_all();
    assert!(world.alive.contains_key("a"));
}

#[test]
fn a_process_with_a_watchdog_must_say_that_it_is_ready_and_well() {
    let notice = |world: &mut World, notice: Notice| {
        let name = "a".to_owned();
        world.feed(Input::Notified { name, notice });
    };
    let text = job("a", "watchdog 20 seconds") + &job("b", "depends on a");
    let mut world = World::new(&text);
    world.look();
    world.finish(true);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.log, ["start a"], "b waits until a is ready");
    assert_eq!(world.snapshot("a").state, "starting");
    notice(&mut world, Notice::Ready);
    assert_eq!(world.log, ["start a", "start b"]);
    world.finish_all();
    for _ in 0..5 {
        world.pass(Duration::from_secs(19));
        notice(&mut world, Notice::Alive);
    }
    assert_eq!(world.alerted("Heartbeat failed"), 0);
    world.log.clear();
    world.pass(Duration::from_secs(21));
    assert_eq!(world.alerted("Heartbeat failed"), 1);
    assert_eq!(world.log[0], "stop b");
    world.finish(true);
    // It does not stop, either: it is killed at the end of its stop program's time, not after minutes.
    world.pass(Duration::from_secs(31));
    assert!(world.log.contains(&"kill a".to_owned()), "{:?}", world.log);
    world.finish(true);
    notice(&mut world, Notice::Ready);
    world.finish_all();
    assert_eq!(world.alerted("Heartbeat succeeded"), 1);
    assert_eq!(world.snapshot("b").state, "running");
    // It may ask for another interval, and for its end.
    notice(&mut world, Notice::Interval(Duration::from_secs(3)));
    world.pass(Duration::from_secs(4));
    assert_eq!(world.alerted("Heartbeat failed"), 2);
    let mut other = World::new(&text);
    other.look();
    other.finish(true);
    notice(&mut other, Notice::Ready);
    other.finish_all();
    notice(&mut other, Notice::Trigger);
    assert_eq!(other.alerted("Heartbeat failed"), 1);
}

#[test]
fn a_process_that_does_not_become_ready_is_killed_and_tried_again() {
    let mut world = World::new(&job("a", "watchdog"));
    world.look();
    world.finish(true);
    world.pass(Duration::from_secs(31));
    assert_eq!(world.log[..2], ["start a", "kill a"]);
    assert_eq!(world.alerted("Execution failed"), 1);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.log[2], "start a");
    world.finish(true);
    world.feed(Input::Notified {
        name: "a".to_owned(),
        notice: Notice::Ready,
    });
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.snapshot("a").state, "running");
    assert_eq!(world.machine.next_deadline(world.now), None);
}

#[derive(Clone, Debug)]
enum Step {
    Act(usize, u8),
    Finish(bool),
    Die(usize),
    Pass(u16),
    Cycle,
    Check(usize, bool),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_usize, 0..5_u8).prop_map(|(service, action)| Step::Act(service, action)),
        6 => prop::bool::weighted(0.8).prop_map(Step::Finish),
        2 => (0..4_usize).prop_map(Step::Die),
        3 => (0..40_000_u16).prop_map(Step::Pass),
        2 => Just(Step::Cycle),
        2 => (0..4_usize, prop::bool::ANY).prop_map(|(service, bad)| Step::Check(service, bad)),
        1 => Just(Step::Crash),
    ]
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Never two copies, order in both directions, stopped stays stopped (all asserted by the world), and in the end
    /// everything settles: what is wanted runs, what is not does not, and nothing is left to be done.
    #[test]
    fn whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let text = job("a", "if cpu > 1% then restart") + &job("b", "depends on a\nif cpu > 1% then restart")
            + &job("c", "depends on a\nif cpu > 1% then stop") + &job("d", "restart program \"/again d\"\ndepends on b, c\nif cpu > 1% then unmonitor");
        let mut world = World::new(&text);
        world.look();
        for step in steps {
            match step {
                Step::Act(service, action) => {
                    let all = [Action::Start, Action::Stop, Action::Restart, Action::Monitor, Action::Unmonitor];
                    world.act(NAMES[service], all[usize::from(action)]);
                }
                Step::Finish(well) => world.finish(well),
                Step::Die(service) => world.die(NAMES[service]),
                Step::Pass(millis) => world.pass(Duration::from_millis(u64::from(millis))),
                Step::Cycle => world.cycle(),
                Step::Check(service, bad) => {
                    let outcome = if bad { Outcome::Failed(String::new()) } else { Outcome::Succeeded(String::new()) };
                    let before = world.snapshot(NAMES[service]);
                    world.feed(Input::Checked { name: NAMES[service].to_owned(), check: Some(0), event: Event::Resource, outcome });
                    // A check that stops or unmonitors does so for good.
                    if bad && matches!(service, 2 | 3) && before.monitoring != Monitoring::No
                        && world.snapshot(NAMES[service]).monitoring == Monitoring::No {
                        world.left_alone.extend(NAMES[service..].iter().filter(|name| service == 2 && **name != "b" || **name == "d").map(|name| (*name).to_owned()));
                    }
                }
                Step::Crash => {
                    // Programs end on their own while nobody looks.
                    let saved = world.machine.saved();
                    for program in std::mem::take(&mut world.programs) {
                        match program.what {
                            Run::Start | Run::Restart => {
                                world.next_pid += 1;
                                world.alive.insert(program.name, world.next_pid);
                            }
                            Run::Stop => drop(world.alive.remove(&program.name)),
                            Run::Exec { .. } => {}
                        }
                    }
                    let mut next = World::with(&text, &saved, false);
                    next.alive = std::mem::take(&mut world.alive);
                    next.left_alone = std::mem::take(&mut world.left_alone);
                    next.next_pid = world.next_pid;
                    next.now = world.now;
                    next.look();
                    world = next;
                }
            }
        }
        for _ in 0..50 {
            world.finish(true);
            world.pass(Duration::from_secs(31));
            world.cycle();
        }
        world.finish_all();
        prop_assert_eq!(world.machine.next_deadline(world.now), None);
        for snapshot in world.machine.snapshots(Duration::ZERO, |_| None) {
            prop_assert_eq!(snapshot.pending, None, "{} is still pending", snapshot.name);
            prop_assert_eq!(snapshot.pid, world.alive.get(&snapshot.name).copied());
            if snapshot.monitoring != Monitoring::No {
                prop_assert!(snapshot.pid.is_some(), "{} is monitored and does not run", snapshot.name);
            }
        }
    }
}
