//! The fuzz targets' corpora, tried with the ordinary tests: what has broken something once must not do so again.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bosh_agent::jobs::tarball::{Limits, Target, unpack};
use bosh_agent::rpc::Request;
use bosh_agent::supervisor::monitrc::load_text;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 100,
};

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect();
    files.sort();
    assert!(files.len() > 5, "the corpus of {name} is here");
    files
}

/// Unpacks into a place of its own; nothing may appear beside it, or lead out of it.
fn contained(bytes: &[u8]) -> bool {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("in");
    fs::create_dir(&dir).unwrap();
    let target = Target {
        dir: dir.clone(),
        prefix: None,
    };
    let unpacked = unpack(bytes, &[target], LIMITS).is_ok();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    let mut dirs = vec![dir];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            assert!(kind.is_dir() || kind.is_file() || kind.is_symlink());
            if kind.is_dir() {
                dirs.push(path);
            }
        }
    }
    unpacked
}

#[test]
fn requests() {
    let (mut good, mut bad) = (0, 0);
    for (_, bytes) in corpus("rpc") {
        match Request::parse(&bytes) {
            Ok(_) => good += 1,
            Err(error) => {
                bad += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(good > 5 && bad > 5, "{good} {bad}");
}

#[test]
fn tarballs() {
    let good: Vec<_> = corpus("tarball")
        .into_iter()
        .filter(|(_, bytes)| contained(bytes))
        .map(|(path, _)| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(good.contains(&"plain".to_owned()), "{good:?}");
    assert!(good.contains(&"hard_in".to_owned()), "{good:?}");
    for hostile in ["dotdot", "hard_out", "device", "truncated", "huge_size"] {
        assert!(!good.contains(&hostile.to_owned()), "{hostile} was taken");
    }
}

#[test]
fn control_files() {
    for (path, bytes) in corpus("monitrc") {
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        let _ = load_text(&path, &text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_tarballs(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let corpus = corpus("tarball");
        let mut bytes = which.get(&corpus).1.clone();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        contained(&bytes);
    }

    #[test]
    fn damaged_requests(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let corpus = corpus("rpc");
        let mut bytes = which.get(&corpus).1.clone();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn damaged_control_files(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in "[ -~\n]{0,5}") {
        let corpus = corpus("monitrc");
        let (path, bytes) = which.get(&corpus);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        let at = text.floor_char_boundary(at.index(text.len() + 1));
        text.insert_str(at, &with);
        if !text.to_ascii_lowercase().contains("include") {
            let _ = load_text(path, &text);
        }
    }
}
