//! monit's grammar: no text may break the parser, and each mistake has a place and words.
#![no_main]

use std::path::Path;

use bosh_agent::supervisor::monitrc::load_text;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // An include would read this machine's files.
    if text.to_ascii_lowercase().contains("include") {
        return;
    }
    let _ = load_text(Path::new("fuzz.monitrc"), text);
});
