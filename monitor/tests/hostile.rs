//! What the fuzz targets check, on stable Rust: their corpus, broken in every way, and anything at all.

use std::path::Path;
use std::time::Instant;

use bosh_monitor::intake::message::{self, MAX_TEXT, Sender};
use bosh_monitor::registry::{Id, Instance, Registry, Told};
use proptest::prelude::*;

fn registry() -> (Registry, Instant) {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    let text = r#"[{"id":"i","agent_id":"a","job":"web","index":0,"cid":"vm","expects_vm":true}]"#;
    let instances: Vec<Instance> = serde_json::from_str(text).expect("sound instances");
    let told = Told {
        name: "d".into(),
        teams: vec![],
        locked: false,
        instances: Some(instances),
    };
    registry.sync(vec![told], now, now);
    (registry, now)
}

/// A heartbeat is refused or taken, and nothing else happens.
fn heartbeat(payload: &[u8]) {
    let (mut registry, now) = registry();
    if let Ok(Some(beat)) = registry.heartbeat("a", payload, now, 0, true) {
        assert_eq!((&*beat.agent_id, &*beat.deployment), ("a", "d"));
        assert!(!beat.metrics().is_empty());
        assert!(beat.to_json().is_object());
    }
    assert_eq!(registry.len(), 1);
    assert!(registry.agent(&Id::from("a")).is_some());
}

/// An alert is refused, or taken and bounded, and has nothing repaired.
fn alert(payload: &[u8]) {
    let Ok(object) = message::object(payload) else {
        return;
    };
    // Whatever it says of it, it has said it.
    let _ = message::director_alert(&object);
    if let Ok(alert) = message::agent_alert(object, Sender::default) {
        assert!(alert.title.len() <= MAX_TEXT + 64 && alert.summary.len() <= MAX_TEXT + 64);
        assert!(alert.jobs_to_instance_ids.is_empty() && alert.category.is_none());
        assert!(alert.to_json().is_object());
        assert!(alert.to_plain_text().contains("Severity"));
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&dir).expect("the corpus");
    let files: Vec<_> = files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("its content"))
        .collect();
    assert!(files.len() > 3, "{}", dir.display());
    files
}

#[test]
fn the_corpus_and_every_beginning_of_it() {
    for payload in corpus("heartbeat") {
        (0..=payload.len()).for_each(|end| heartbeat(&payload[..end]));
    }
    for payload in corpus("alert") {
        (0..=payload.len()).for_each(|end| alert(&payload[..end]));
    }
}

/// A message of the corpus with a few bytes replaced.
fn broken(target: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5);
    (proptest::sample::select(corpus(target)), changes).prop_map(|(mut payload, changes)| {
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload
    })
}

proptest! {
    #[test]
    fn broken_heartbeats(payload in broken("heartbeat")) {
        heartbeat(&payload);
    }

    #[test]
    fn broken_alerts(payload in broken("alert")) {
        alert(&payload);
    }

    #[test]
    fn anything(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        heartbeat(&payload);
        alert(&payload);
    }
}
