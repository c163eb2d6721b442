//! The monit grammar: no text makes it panic or hang, and what it takes means the same when it is read again.

#![no_main]

use std::path::Path;

use bosh_agent::supervisor::monitrc::load_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let once = load_text(Path::new("/fuzz/rc"), &text);
    let twice = load_text(Path::new("/fuzz/rc"), &text);
    assert_eq!(once.errors.len(), twice.errors.len());
    assert_eq!(once.config, twice.config);
});
