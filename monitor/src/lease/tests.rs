//! The lease under every kind of misfortune that a bus and its clients have. One step is 10 ms.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const STEP: Duration = Duration::from_millis(10);
const INTERVAL: Duration = Duration::from_millis(1600);

/// Steps in two intervals.
const TWO: u64 = 320;

struct Monitor {
    lease: Lease,
    /// What the server has delivered and the process has not read.
    inbox: VecDeque<Message>,
    /// What it has sent and the server has not read.
    outbox: VecDeque<(u64, Message)>,
    connected: bool,
    /// Whether the connection broke since it was last looked at.
    broke: bool,
    stopped: bool,
    dead: bool,
}

struct World {
    start: Instant,
    step: u64,
    monitors: Vec<Monitor>,
    /// Steps from sending to delivery, of each monitor.
    delays: Vec<u64>,
}

impl World {
    fn new(count: usize) -> Self {
        let start = Instant::now();
        let monitors = (0..count).map(|id| {
            let mut lease = Lease::new(Uuid::from_u128(id as u128 + 1), INTERVAL);
            lease.connection(true, start);
            Monitor {
                lease,
                inbox: VecDeque::new(),
                outbox: VecDeque::new(),
                connected: true,
                broke: false,
                stopped: false,
                dead: false,
            }
        });
        Self {
            start,
            step: 0,
            monitors: monitors.collect(),
            delays: vec![0; count],
        }
    }

    fn now(&self) -> Instant {
        self.start + STEP * self.step as u32
    }

    fn connect(&mut self, at: usize, stands: bool) {
        let monitor = &mut self.monitors[at];
        if monitor.connected != stands {
            monitor.connected = stands;
            monitor.broke = true;
            monitor.inbox.clear();
            monitor.outbox.clear();
        }
    }

    /// One step of everybody. Panics where two may act.
    fn step(&mut self) {
        self.step += 1;
        let (now, step) = (self.now(), self.step);
        let mut said = Vec::new();
        for monitor in &mut self.monitors {
            while monitor.outbox.front().is_some_and(|(due, _)| *due <= step) {
                said.extend(monitor.outbox.pop_front().map(|(_, message)| message));
            }
        }
        for monitor in self
            .monitors
            .iter_mut()
            .filter(|one| one.connected && !one.dead)
        {
            monitor.inbox.extend(said.iter().cloned());
        }
        for (monitor, delay) in self.monitors.iter_mut().zip(&self.delays) {
            if monitor.dead || monitor.stopped {
                continue;
            }
            let mut answers = Vec::new();
            if std::mem::take(&mut monitor.broke) {
                monitor.lease.connection(false, now);
            }
            monitor.lease.connection(monitor.connected, now);
            while let Some(message) = monitor.inbox.pop_front() {
                answers.extend(monitor.lease.hear(&message, now));
            }
            answers.extend(monitor.lease.tick(now));
            if monitor.connected {
                let due = answers.into_iter().map(|answer| (step + delay, answer));
                monitor.outbox.extend(due);
            }
        }
        let leaders = self.leaders();
        assert!(leaders.len() <= 1, "step {step}: {leaders:?} lead");
    }

    fn leaders(&self) -> Vec<usize> {
        let now = self.now();
        let leads = |monitor: &Monitor| {
            let up = !monitor.dead && !monitor.stopped;
            up && monitor.lease.standing(now) == Standing::Leader
        };
        (0..self.monitors.len())
            .filter(|at| leads(&self.monitors[*at]))
            .collect()
    }

    fn until_led(&mut self, limit: u64) -> Option<usize> {
        for _ in 0..limit {
            self.step();
            if let [leader] = self.leaders()[..] {
                return Some(leader);
            }
        }
        None
    }

    fn run(&mut self, steps: u64) {
        (0..steps).for_each(|_| self.step());
    }
}

#[test]
fn a_monitor_alone_leads_within_two_intervals_and_goes_on() {
    let mut world = World::new(1);
    assert_eq!(world.until_led(TWO), Some(0));
    for _ in 0..1000 {
        world.step();
        assert_eq!(world.leaders(), [0]);
    }
}

#[test]
fn a_dead_leader_is_replaced_within_two_intervals() {
    let mut world = World::new(3);
    let first = world.until_led(TWO).unwrap();
    world.run(500);
    world.monitors[first].dead = true;
    let second = world.until_led(TWO).unwrap();
    assert_ne!(first, second);
    let followers = (0..3).filter(|at| *at != first && *at != second);
    world.run(100);
    for at in followers {
        let standing = world.monitors[at].lease.standing(world.now());
        assert_eq!(standing, Standing::Follower);
    }
}

#[test]
fn a_stopped_leader_does_not_lead_when_it_goes_on() {
    let mut world = World::new(2);
    let first = world.until_led(TWO).unwrap();
    world.monitors[first].stopped = true;
    let second = world.until_led(TWO).unwrap();
    assert_ne!(first, second);
    world.monitors[first].stopped = false;
    // Before it has read anything.
    let standing = world.monitors[first].lease.standing(world.now());
    assert_ne!(standing, Standing::Leader);
    for _ in 0..1000 {
        world.step();
        assert_eq!(world.leaders(), [second]);
    }
}

#[test]
fn a_leader_cut_off_is_replaced_and_follows_when_it_is_back() {
    let mut world = World::new(2);
    let first = world.until_led(TWO).unwrap();
    world.connect(first, false);
    world.run(TWO);
    let second = 1 - first;
    assert_eq!(world.leaders(), [second]);
    world.connect(first, true);
    world.run(1000);
    assert_eq!(world.leaders(), [second]);
}

#[test]
fn a_newcomer_follows() {
    let mut world = World::new(2);
    world.monitors[0].stopped = true;
    world.monitors[0].connected = false;
    assert_eq!(world.until_led(TWO), Some(1));
    world.monitors[0].connected = true;
    world.monitors[0].stopped = false;
    world.run(1000);
    assert_eq!(world.leaders(), [1]);
}

#[test]
fn a_farewell_is_followed_at_once() {
    let mut world = World::new(2);
    let first = world.until_led(TWO).unwrap();
    world.run(500);
    let (now, step) = (world.now(), world.step);
    let farewell = world.monitors[first].lease.farewell(now).unwrap();
    world.monitors[first].outbox.push_back((step, farewell));
    world.monitors[first].dead = true;
    assert_eq!(world.until_led(60), Some(1 - first));
}

#[test]
fn two_leaders_that_meet_become_one() {
    let (now, one) = (Instant::now(), Uuid::from_u128(1));
    let mut lease = Lease::new(Uuid::from_u128(2), INTERVAL);
    lease.connection(true, now);
    lease.phase_leader(now);
    let message = Message {
        id: one,
        seq: 1,
        role: Role::Leader,
        handled: vec![],
    };
    lease.hear(&message, now);
    assert_eq!(lease.standing(now), Standing::Follower);
}

#[test]
fn one_that_may_not_publish_acts_as_upstreams_would() {
    let now = Instant::now();
    let mut lease = Lease::new(Uuid::from_u128(1), INTERVAL);
    lease.connection(true, now);
    assert_eq!(lease.standing(now), Standing::Undecided);
    lease.muted(true);
    assert_eq!(lease.standing(now), Standing::Leader);
}

#[test]
fn a_leader_learns_of_a_follower() {
    let mut world = World::new(2);
    let first = world.until_led(TWO).unwrap();
    world.run(TWO);
    assert!(!world.monitors[first].lease.alone());
    assert!(!world.monitors[1 - first].lease.alone());
}

#[test]
fn handled_alerts_are_told_at_once() {
    let mut world = World::new(2);
    let first = world.until_led(TWO).unwrap();
    world.run(200);
    world.monitors[first].lease.handled(7);
    let now = world.now() + STEP;
    let message = world.monitors[first].lease.tick(now).unwrap();
    assert_eq!(message.handled, [7]);
}

#[derive(Clone, Debug)]
enum Misfortune {
    Stop(usize),
    GoOn(usize),
    CutOff(usize),
    Reconnect(usize),
    Slow(usize, u64),
    Nothing,
}

fn misfortune(count: usize) -> impl Strategy<Value = Misfortune> {
    prop_oneof![
        (0..count).prop_map(Misfortune::Stop),
        (0..count).prop_map(Misfortune::GoOn),
        (0..count).prop_map(Misfortune::CutOff),
        (0..count).prop_map(Misfortune::Reconnect),
        (0..count, 0..200u64).prop_map(|(at, delay)| Misfortune::Slow(at, delay)),
        Just(Misfortune::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Never two, whatever happens; one, once everything is well again.
    #[test]
    fn never_both(events in proptest::collection::vec((misfortune(3), 1..400u64), 1..40)) {
        let mut world = World::new(3);
        for (event, steps) in events {
            match event {
                Misfortune::Stop(at) => world.monitors[at].stopped = true,
                Misfortune::GoOn(at) => world.monitors[at].stopped = false,
                Misfortune::CutOff(at) => world.connect(at, false),
                Misfortune::Reconnect(at) => world.connect(at, true),
                Misfortune::Slow(at, delay) => world.delays[at] = delay,
                Misfortune::Nothing => {}
            }
            world.run(steps);
        }
        world.delays.fill(0);
        for at in 0..3 {
            world.monitors[at].stopped = false;
            world.connect(at, true);
        }
        prop_assert!(world.until_led(4 * TWO).is_some());
    }
}
