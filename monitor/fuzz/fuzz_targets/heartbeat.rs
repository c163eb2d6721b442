//! Whatever comes as a heartbeat is refused or taken; a taken one is a sign of life.
#![no_main]

use std::time::Instant;

use bosh_monitor::registry::{Id, Instance, Registry, Told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let now = Instant::now();
    let mut registry = Registry::new(now);
    let instances = r#"[{"id":"i","agent_id":"a","job":"web","index":0,"cid":"vm","expects_vm":true}]"#;
    let instances: Vec<Instance> = serde_json::from_str(instances).expect("sound");
    let told = Told { name: "d".into(), teams: vec![], locked: false, instances: Some(instances) };
    registry.sync(vec![told], now, now);
    if let Ok(Some(beat)) = registry.heartbeat("a", payload, now, 0, true) {
        assert_eq!((&*beat.agent_id, &*beat.deployment), ("a", "d"));
        let _ = beat.metrics();
        let _ = beat.to_json().to_string();
    }
    assert_eq!(registry.len(), 1);
    assert!(registry.agent(&Id::from("a")).is_some());
});
