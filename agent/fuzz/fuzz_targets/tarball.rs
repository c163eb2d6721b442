//! Unpacking a tar: nothing outside of the directory is touched, nothing in it leads out, and the limits hold.
#![no_main]

use std::fs;
use std::path::Path;

use bosh_agent::jobs::tarball::{Limits, Target, unpack};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 100,
};

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir().expect("a place");
    let dir = place.path().join("in");
    fs::create_dir(&dir).expect("a directory");
    let target = Target {
        dir: dir.clone(),
        prefix: None,
    };
    // An error is as good as a result.
    let _ = unpack(bytes, &[target], LIMITS);
    let beside = fs::read_dir(place.path()).expect("the place").count();
    assert_eq!(beside, 1, "something was made outside");
    let mut size = 0;
    check(&dir, &mut size);
    assert!(size <= LIMITS.bytes, "{size} bytes");
});

fn check(dir: &Path, size: &mut u64) {
    // What cannot be entered can have nothing in it that matters.
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let meta = path.symlink_metadata().expect("its metadata");
        if meta.is_dir() {
            check(&path, size);
        } else {
            assert!(meta.is_file() || meta.is_symlink(), "a special file");
            *size += if meta.is_file() { meta.len() } else { 0 };
        }
    }
}
