//! What is found, and what is not. Cases are those of upstream's instance_manager_spec.rb, and phantom outages.

use std::path::Path;
use std::time::{Duration, Instant};

use super::agents::{Findings, Moment, analyze};
use super::outage::{Limits, Outage};
use super::{Jobs, instances};
use crate::config::{Config, Intervals};
use crate::event::{Alert, Category};
use crate::registry::{Id, Instance, Registry, Told};

fn intervals() -> Intervals {
    let text = "mbus: {endpoint: x, server_ca_path: x, client_certificate_path: x, client_private_key_path: x}\n\
        director: {endpoint: x}\nplugins: []";
    Config::parse(Path::new("hm.yml"), text).unwrap().intervals
}

fn instance(id: &str, agent: Option<&str>, job: &str, cid: Option<&str>) -> Instance {
    Instance {
        id: id.into(),
        agent_id: agent.map(Id::from),
        job: Some(job.into()),
        az: Some("z1".into()),
        index: Some(0),
        cid: cid.map(Into::into),
        expects_vm: true,
    }
}

fn told(name: &str, instances: Vec<Instance>) -> Told {
    Told {
        name: name.into(),
        teams: vec![],
        locked: false,
        instances: Some(instances),
    }
}

struct World {
    registry: Registry,
    start: Instant,
    outage: Option<Outage>,
}

impl World {
    fn new(deployments: Vec<Told>) -> Self {
        let start = Instant::now();
        let mut registry = Registry::new(start);
        registry.sync(deployments, start, start);
        Self {
            registry,
            start,
            outage: None,
        }
    }

    /// `count` agents of one deployment: `a0` and so on.
    fn of(count: usize) -> Self {
        let instances = (0..count).map(|index| {
            instance(
                &format!("i{index}"),
                Some(&format!("a{index}")),
                "web",
                Some("vm"),
            )
        });
        Self::new(vec![told("d", instances.collect())])
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn beat(&mut self, agent: &str, seconds: u64) {
        let at = self.at(seconds);
        self.registry.heartbeat(agent, b"{}", at, 0, false).unwrap();
    }

    /// An analysis at `seconds`, the director having been asked at `asked`.
    fn analyze_asked(&mut self, seconds: u64, asked: Option<u64>) -> Findings {
        let moment = Moment {
            now: self.at(seconds),
            wall: 0,
            asked: asked.map(|asked| self.at(asked)),
        };
        let before = self.outage.as_ref();
        let findings = analyze(
            &self.registry,
            &intervals(),
            &Limits::default(),
            before,
            moment,
        );
        self.outage = findings.outage.clone();
        findings
    }

    fn analyze(&mut self, seconds: u64) -> Findings {
        self.analyze_asked(seconds, Some(seconds))
    }
}

fn titles(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.title.as_str()).collect()
}

#[test]
fn a_silent_agent_is_one_alert_and_one_for_its_deployment() {
    let mut world = World::of(1);
    assert!(world.analyze(60).alerts.is_empty());
    let found = world.analyze(61).alerts;
    assert_eq!(
        titles(&found),
        ["a0 has timed out", "d has instances with timed out agents"]
    );
    let keys: Vec<_> = found.iter().map(|alert| alert.key.as_deref()).collect();
    assert_eq!(keys, [Some("agents/a0"), Some("agents/deployment/d")]);
    let one = &found[0];
    assert_eq!(
        (one.severity, one.category, one.source.as_deref()),
        (
            2,
            Some(Category::VmHealth),
            Some("d: web(i0) [id=a0, index=0, cid=vm]")
        )
    );
    assert_eq!(
        (one.job.as_deref(), one.instance_id.as_deref()),
        (Some("web"), Some("i0"))
    );
    let all = &found[1];
    assert_eq!(all.category, Some(Category::DeploymentHealth));
    let expected = Jobs::from([("web".to_owned(), vec!["i0".to_owned()])]);
    assert_eq!(all.jobs_to_instance_ids, expected);
    assert_eq!(world.analyze(121).alerts.len(), 2, "again, as upstream");
}

#[test]
fn silent_agents_are_told_in_the_directors_order() {
    let mut world = World::new(vec![
        told(
            "z",
            vec![
                instance("i2", Some("a2"), "web", Some("vm")),
                instance("i1", Some("a1"), "web", Some("vm")),
                instance("i3", Some("a3"), "db", Some("vm")),
            ],
        ),
        told("a", vec![instance("i4", Some("a4"), "db", Some("vm"))]),
    ]);
    let found = world.analyze(61).alerts;
    assert_eq!(
        titles(&found),
        [
            "a2 has timed out",
            "a1 has timed out",
            "a3 has timed out",
            "a4 has timed out",
            "z has instances with timed out agents",
            "a has instances with timed out agents"
        ]
    );
    assert_eq!(found[4].jobs_to_instance_ids["web"], ["i2", "i1"]);
}

#[test]
fn a_locked_deployment_is_left_alone_and_its_troubles_are_not_over() {
    let locked = |instances| Told {
        locked: true,
        ..told("d", instances)
    };
    let mut world = World::new(vec![locked(vec![instance(
        "i",
        Some("a"),
        "web",
        Some("vm"),
    )])]);
    let found = world.analyze(999);
    assert!(found.alerts.is_empty());
    assert_eq!(found.analyzed, 0);
    assert_eq!(found.known[0].key.as_deref(), Some("agents/a"));
    let world = World::new(vec![locked(vec![instance("i", None, "web", None)])]);
    let found = instances::analyze(&world.registry, 0);
    assert!(found.alerts.is_empty());
    assert_eq!(found.known[0].key.as_deref(), Some("instances/d/i"));
}

#[test]
fn an_instance_without_its_vm_is_missed() {
    let world = World::new(vec![told(
        "d",
        vec![
            instance("i", Some("a"), "web", None),
            instance("j", Some("b"), "web", Some("vm")),
            Instance {
                expects_vm: false,
                ..instance("k", None, "web", None)
            },
        ],
    )]);
    let found = instances::analyze(&world.registry, 0);
    assert_eq!(
        titles(&found.alerts),
        ["i has no VM", "d has instances which do not have VMs"]
    );
    assert_eq!(
        found.alerts[0].source.as_deref(),
        Some("d: web(i) [agent_id=a, index=0, cid=]")
    );
    assert_eq!(found.analyzed, 3);
}

#[test]
fn a_stranger_is_reported_while_it_speaks_and_forgotten_when_it_falls_silent() {
    let mut world = World::new(vec![]);
    world.beat("x", 1);
    let now = world.at(10);
    world.registry.sync(vec![], now, now);
    assert!(world.analyze(50).alerts.is_empty());
    world.beat("x", 120);
    let found = world.analyze(130).alerts;
    assert_eq!(titles(&found), ["x is not a part of any deployment"]);
    assert_eq!(found[0].source.as_deref(), Some("agent x []"));
    assert_eq!(world.analyze(181).forget, [Id::from("x")]);
}

#[test]
fn a_director_that_is_down_makes_nobody_a_stranger() {
    let mut world = World::new(vec![]);
    world.beat("x", 100);
    for minute in 2..62 {
        world.beat("x", minute * 60);
        assert!(world.analyze(minute * 60 + 1).alerts.is_empty());
    }
    // It is back, but could not tell about one deployment.
    let now = world.at(3700);
    let half = Told {
        instances: None,
        ..told("d", vec![])
    };
    world.registry.sync(vec![half], now, now);
    world.beat("x", 3700);
    assert!(world.analyze(3701).alerts.is_empty());
    let now = world.at(3702);
    world.registry.sync(vec![], now, now);
    assert_eq!(world.analyze(3703).alerts.len(), 1);
}

#[test]
fn the_director_is_asked_before_an_agent_is_called_silent() {
    let mut world = World::of(1);
    let found = world.analyze_asked(61, Some(30));
    assert!(found.alerts.is_empty() && found.ask);
    // It says that the VM was replaced.
    let now = world.at(61);
    let replaced = vec![instance("i0", Some("new"), "web", Some("vm2"))];
    world.registry.sync(vec![told("d", replaced)], now, now);
    let found = world.analyze(61);
    assert!(found.alerts.is_empty() && !found.ask);
    // Or it does not say anything: silent is silent.
    let mut world = World::of(1);
    assert_eq!(world.analyze_asked(62, Some(61)).alerts.len(), 2);
    assert!(world.analyze_asked(62, None).ask);
}

#[test]
fn nobody_is_silent_to_one_that_could_not_listen() {
    let mut world = World::of(100);
    let now = world.at(3600);
    world.registry.excuse_silence(now);
    assert!(world.analyze(3601).alerts.is_empty());
    assert!(world.analyze(3660).alerts.is_empty());
    assert!(!world.analyze(3661).alerts.is_empty());
}

#[test]
fn a_mass_outage_is_one_alert_told_once() {
    let mut world = World::of(1000);
    // Beats come over half a minute; then the network goes.
    for index in 0..1000 {
        world.beat(&format!("a{index}"), 100 + index % 30);
    }
    let mut all = Vec::new();
    for at in [131, 145, 161, 175, 190, 220, 280, 600] {
        all.extend(world.analyze(at).alerts);
    }
    assert_eq!(all.len(), 1, "{:?}", titles(&all));
    assert!(
        all[0].title.starts_with("Mass outage: "),
        "{}",
        all[0].title
    );
    assert!(all[0].summary.contains("d in z1: "), "{}", all[0].summary);
    assert_eq!(
        (all[0].severity, all[0].category, all[0].key.as_deref()),
        (1, None, Some("outage/mass"))
    );
    // Most come back: it is over, and those that do not are told one by one.
    for index in 0..990 {
        world.beat(&format!("a{index}"), 620);
    }
    let found = world.analyze(630);
    assert_eq!(found.outage, None);
    assert_eq!(found.alerts.len(), 11, "{:?}", titles(&found.alerts));
}

#[test]
fn few_or_long_silent_agents_are_no_mass_outage() {
    // Nine of nine are few.
    let mut world = World::of(9);
    assert_eq!(world.analyze(61).alerts.len(), 10);
    // 15 of 100 are not enough.
    let mut world = World::of(100);
    (15..100).for_each(|index| world.beat(&format!("a{index}"), 30));
    assert_eq!(world.analyze(61).alerts.len(), 16);
    // 40 of 100 that fell silent at different times do not fall together.
    let mut world = World::of(100);
    for at in (0..=4000).step_by(100) {
        let speaking = at / 100;
        (speaking..100).for_each(|index| world.beat(&format!("a{index}"), at));
        world.analyze(at + 30);
        assert_eq!(world.outage, None);
    }
    assert_eq!(world.analyze(4030).alerts.len(), 40 + 1);
}

#[test]
fn who_was_silent_before_an_outage_is_told_as_before() {
    let mut world = World::of(100);
    (1..100).for_each(|index| world.beat(&format!("a{index}"), 1000));
    let found = world.analyze(1070);
    let expected = ["a0 has timed out", "d has instances with timed out agents"];
    let titles = titles(&found.alerts);
    assert!(
        titles[0].starts_with("Mass outage: 99 of 100"),
        "{titles:?}"
    );
    assert_eq!(titles[1..], expected);
}
