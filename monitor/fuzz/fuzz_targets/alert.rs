//! Whatever comes as an alert is refused or taken; a taken one is bounded and has nothing repaired.
#![no_main]

use bosh_monitor::intake::message::{self, MAX_TEXT, Sender};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(object) = message::object(payload) else { return };
    let _ = message::director_alert(&object);
    if let Ok(alert) = message::agent_alert(object, Sender::default) {
        assert!(alert.title.len() <= MAX_TEXT + 64 && alert.summary.len() <= MAX_TEXT + 64);
        assert!(alert.jobs_to_instance_ids.is_empty() && alert.category.is_none());
        let _ = (alert.to_json().to_string(), alert.to_plain_text(), alert.to_string());
    }
});
