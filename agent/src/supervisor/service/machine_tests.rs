//! The state machine by examples.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world_tests::{World, job};
use super::{Action, Event, Input, Monitoring, Notice, Outcome};

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
