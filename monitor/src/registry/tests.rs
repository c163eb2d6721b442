//! Cases of upstream's instance_manager_spec.rb, deployment_spec.rb, agent_spec.rb and instance_spec.rb, and bad input.

use std::time::{Duration, Instant};

use super::*;
use crate::intake::Refusal;

fn told(name: &str, agents: &[(&str, &str)]) -> Told {
    let instances = agents.iter().map(|(id, agent)| Instance {
        id: Id::from(*id),
        agent_id: Some(Id::from(*agent)),
        job: Some("web".into()),
        az: None,
        index: Some(0),
        cid: Some("vm".into()),
        expects_vm: true,
    });
    Told {
        name: name.into(),
        teams: vec!["ops".into()],
        locked: false,
        instances: Some(instances.collect()),
    }
}

fn with(deployments: Vec<Told>) -> (Registry, Instant) {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    registry.sync(deployments, now, now);
    (registry, now)
}

#[test]
fn what_the_director_no_longer_names_is_forgotten_and_what_it_could_not_tell_is_kept() {
    let (mut registry, now) = with(vec![told("d", &[("i1", "a1")]), told("e", &[("i2", "a2")])]);
    assert_eq!((registry.len(), registry.unmanaged()), (2, 0));
    let silent = Told {
        instances: None,
        ..told("d", &[])
    };
    registry.sync(vec![silent], now, now);
    assert!(registry.agent(&"a1".into()).is_some());
    assert!(registry.agent(&"a2".into()).is_none());
    registry.sync(vec![told("d", &[])], now, now);
    assert!(registry.is_empty());
    assert_eq!(registry.deployments().len(), 1);
}

#[test]
fn a_stranger_that_the_director_names_later_is_managed_and_keeps_its_age() {
    let (mut registry, now) = with(vec![]);
    registry
        .heartbeat("a1", br#"{"job_state":"running"}"#, now, 0, false)
        .unwrap();
    assert_eq!(registry.unmanaged(), 1);
    let later = now + Duration::from_secs(50);
    registry.sync(vec![told("d", &[("i1", "a1")])], later, later);
    let agent = registry.agent(&"a1".into()).unwrap();
    assert!(agent.is_managed());
    assert_eq!(agent.job_state(), JobState::Running);
    assert_eq!(registry.silence(agent, later), Duration::from_secs(50));
    assert_eq!((registry.len(), registry.unmanaged()), (1, 0));
}

#[test]
fn an_agent_that_says_goodbye_is_forgotten_until_the_director_names_it_again() {
    let (mut registry, now) = with(vec![told("d", &[("i1", "a1")])]);
    assert!(registry.forget(&"a1".into()));
    assert!(!registry.forget(&"a1".into()));
    assert!(registry.is_empty());
    registry.sync(vec![told("d", &[("i1", "a1")])], now, now);
    assert_eq!(registry.len(), 1);
}

#[test]
fn heartbeats_are_whole_once_it_is_known_whose_they_are() {
    let (mut registry, now) = with(vec![]);
    let body = br#"{"job_state":"running","number_of_processes":3,"index":7,"node_id":"x","deployment":"lie","job":"lie",
        "agent_id":"lie","instance_id":"lie","teams":["lie"],"vitals":{"load":["0.1"],"mem":{"kb":"12"}}}"#;
    assert!(
        registry
            .heartbeat("a1", body, now, 5, true)
            .unwrap()
            .is_none()
    );
    registry.sync(vec![told("d", &[("i1", "a1")])], now, now);
    assert!(
        registry
            .heartbeat("a1", body, now, 5, false)
            .unwrap()
            .is_none()
    );
    let beat = registry
        .heartbeat("a1", body, now, 5, true)
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            &*beat.deployment,
            &*beat.job,
            &*beat.instance_id,
            &*beat.agent_id
        ),
        ("d", "web", "i1", "a1")
    );
    assert_eq!((&*beat.index, beat.timestamp), ("7", 5));
    assert_eq!(beat.number_of_processes, Some(3));
    assert_eq!(*beat.teams, ["ops".to_owned()]);
    assert_eq!(beat.vitals["mem"]["kb"], "12");
    let agent = registry.agent(&"a1".into()).unwrap();
    assert_eq!(agent.detail().unwrap().vitals.mem_kb(), Some(12));
}

#[test]
fn teams_are_those_of_the_last_sync() {
    let (mut registry, now) = with(vec![told("d", &[("i1", "a1")])]);
    let more = Told {
        teams: vec!["a".into(), "b".into()],
        ..told("d", &[("i1", "a1")])
    };
    registry.sync(vec![more], now, now);
    let beat = registry
        .heartbeat("a1", b"{}", now, 0, true)
        .unwrap()
        .unwrap();
    assert_eq!(*beat.teams, ["a".to_owned(), "b".to_owned()]);
}

#[test]
fn an_instance_without_group_gives_no_heartbeat_to_plugins() {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    let mut idle = told("d", &[("i1", "a1")]);
    idle.instances.as_mut().unwrap()[0].job = None;
    registry.sync(vec![idle], now, now);
    assert!(
        registry
            .heartbeat("a1", b"{}", now, 0, true)
            .unwrap()
            .is_none()
    );
    let agent = registry.agent(&"a1".into()).unwrap();
    assert_eq!(
        registry.name(&"a1".into(), agent),
        "agent a1 [deployment=d, index=0, instance_id=i1, cid=vm]"
    );
}

#[test]
fn names_are_upstreams() {
    let (registry, _) = with(vec![told("d", &[("i1", "a1")])]);
    let agent = registry.agent(&"a1".into()).unwrap();
    assert_eq!(
        registry.name(&"a1".into(), agent),
        "d: web(i1) [id=a1, index=0, cid=vm]"
    );
    let (deployment, instance) = registry.instance(agent).unwrap();
    assert_eq!(
        instance.name(&deployment.name),
        "d: web(i1) [agent_id=a1, index=0, cid=vm]"
    );
    let idle = Instance {
        job: None,
        index: None,
        ..instance.clone()
    };
    assert_eq!(
        idle.name("d"),
        "d: instance i1 [agent_id=a1, cid=vm, expects_vm=true]"
    );
}

#[test]
fn members_are_agents_and_missing_vms() {
    let mut of = told("d", &[("i1", "a1"), ("i2", "a2"), ("i3", "a3")]);
    let instances = of.instances.as_mut().unwrap();
    instances[1].agent_id = None;
    instances[1].cid = None;
    instances[2].agent_id = None;
    instances[2].expects_vm = false;
    let (registry, _) = with(vec![of]);
    let members = registry.members("d");
    assert_eq!(
        members,
        [
            ("web".to_owned(), "i1".to_owned()),
            ("web".to_owned(), "i2".to_owned())
        ]
    );
    assert!(registry.members("e").is_empty());
}

#[test]
fn counts_are_upstreams() {
    let (mut registry, now) = with(vec![
        told(
            "d",
            &[
                ("1", "a1"),
                ("2", "a2"),
                ("3", "a3"),
                ("4", "a4"),
                ("5", "a5"),
            ],
        ),
        told("e", &[]),
    ]);
    let late = now + Duration::from_secs(61);
    for (agent, body) in [
        ("a1", r#"{"job_state":"failing"}"#),
        ("a2", r#"{"job_state":"running","number_of_processes":0}"#),
        ("a3", r#"{"job_state":"stopped","number_of_processes":0}"#),
        ("a4", r#"{"job_state":"running","number_of_processes":"0"}"#),
    ] {
        registry
            .heartbeat(agent, body.as_bytes(), late, 0, false)
            .unwrap();
    }
    let counts = registry.counts(late, Duration::from_secs(60));
    let expected = Counts {
        agents: 5,
        unresponsive: 1,
        unhealthy: 1,
        failing: 1,
        stopped: 1,
        unknown: 1,
    };
    assert_eq!(counts[0], ("d".into(), expected));
    assert_eq!(counts[1], ("e".into(), Counts::default()));
}

#[test]
fn garbage_is_refused_and_makes_nobody_known() {
    let (mut registry, now) = with(vec![told("d", &[("i1", "a1")])]);
    let later = now + Duration::from_secs(100);
    for (body, shape) in [("no", false), ("", false), ("[]", true), ("7", true)] {
        let refusal = registry
            .heartbeat("a1", body.as_bytes(), later, 0, true)
            .unwrap_err();
        assert_eq!(matches!(refusal, Refusal::Shape(_)), shape, "{body}");
        assert!(
            registry
                .heartbeat("x", body.as_bytes(), later, 0, true)
                .is_err()
        );
    }
    assert!(registry.agent(&"x".into()).is_none());
    let agent = registry.agent(&"a1".into()).unwrap();
    assert_eq!(registry.silence(agent, later), Duration::from_secs(100));
}

#[test]
fn a_bad_timestamp_is_refused_and_a_sign_of_life() {
    let (mut registry, now) = with(vec![told("d", &[("i1", "a1")])]);
    let later = now + Duration::from_secs(100);
    let refusal = registry
        .heartbeat("a1", br#"{"timestamp":"soon"}"#, later, 0, true)
        .unwrap_err();
    assert_eq!(refusal, Refusal::Invalid("timestamp is invalid".into()));
    let agent = registry.agent(&"a1".into()).unwrap();
    assert_eq!(registry.silence(agent, later), Duration::ZERO);
}

#[test]
fn an_old_message_does_not_make_an_agent_older() {
    let (mut registry, now) = with(vec![told("d", &[("i1", "a1")])]);
    let later = now + Duration::from_secs(100);
    registry.heartbeat("a1", b"{}", later, 0, false).unwrap();
    registry.heartbeat("a1", b"{}", now, 0, false).unwrap();
    let agent = registry.agent(&"a1".into()).unwrap();
    assert_eq!(registry.silence(agent, later), Duration::ZERO);
}

#[test]
fn strangers_are_bounded_and_managed_agents_are_not() {
    let (mut registry, now) = with(vec![]);
    for at in 0..100_000 {
        registry
            .heartbeat(&format!("x{at}"), b"{}", now, 0, false)
            .unwrap();
    }
    let refusal = registry
        .heartbeat("one more", b"{}", now, 0, false)
        .unwrap_err();
    assert_eq!(refusal, Refusal::Strangers);
    assert!(!registry.heard(&"one more".into(), now));
    registry.sync(vec![told("d", &[("i1", "a1")])], now, now);
    assert!(registry.heartbeat("a1", b"{}", now, 0, false).is_ok());
    assert!(registry.forget(&"x7".into()));
    assert!(registry.heartbeat("one more", b"{}", now, 0, false).is_ok());
}

#[test]
fn the_directors_json_is_read_as_it_comes() {
    let text = r#"[{"id":"i1","agent_id":null,"job":null,"index":null,"cid":null,"expects_vm":null,"ips":["1.1.1.1"],"az":"z1"},
        {"id":"i2","index":"28","expects_vm":true,"vm_created_at":"x"},{"agent_id":"a"},{"id":null}]"#;
    let instances: Vec<Instance> = serde_json::from_str(text).unwrap();
    assert!(!instances[0].expects_vm);
    assert_eq!(instances[1].index, Some(28));
    let (registry, _) = with(vec![Told {
        instances: Some(instances),
        ..told("d", &[])
    }]);
    assert_eq!(registry.deployments()[0].instances.len(), 2);
    assert!(registry.is_empty());
}
