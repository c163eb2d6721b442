//! What holds for the state machine whatever happens.

use std::time::Duration;

use proptest::prelude::*;

use super::world_tests::{World, job};
use super::{Action, Event, Input, Monitoring, Notice, Outcome, Run};

#[derive(Clone, Debug)]
enum Step {
    Act(usize, u8),
    Finish(bool),
    Die(usize),
    Pass(u16),
    Cycle,
    Check(usize, bool),
    Swept,
    Notice(usize, u8),
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
        2 => Just(Step::Swept),
        2 => (0..4_usize, 0..3_u8).prop_map(|(service, notice)| Step::Notice(service, notice)),
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
        let text = job("a", "if cpu > 1% then restart") + &job("b", "watchdog\ndepends on a\nif cpu > 1% then restart")
            + &job("c", "depends on a\nif cpu > 1% then stop") + &job("d", "restart program \"/again d\"\ndepends on b, c\nif cpu > 1% then unmonitor");
        let mut world = World::new(&text);
        world.sweeping = Some(Vec::new());
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
                Step::Swept => world.swept(),
                Step::Notice(service, notice) => {
                    let all = [Notice::Ready, Notice::Alive, Notice::Trigger];
                    world.notice(NAMES[service], all[usize::from(notice)]);
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
                    next.sweeping = Some(Vec::new());
                    next.look();
                    world = next;
                }
            }
        }
        for _ in 0..50 {
            world.finish(true);
            world.swept();
            world.notice("b", Notice::Ready);
            world.pass(Duration::from_secs(31));
            world.cycle();
        }
        world.sweeping = None;
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
