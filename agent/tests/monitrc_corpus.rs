//! The corpus of the fuzz target `monitrc` on the stable compiler, as it is and broken in every way that is cheap: no text
//! makes the grammar panic or take long, and errors name a line that exists.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bosh_agent::supervisor::monitrc::{Error, LoadResult, load_text};
use proptest::prelude::*;

const FILE: &str = "/fuzz/rc";

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/monitrc");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let bytes = std::fs::read(&file).unwrap();
            (file, bytes)
        })
        .collect()
}

fn load(bytes: &[u8]) -> LoadResult {
    let text = String::from_utf8_lossy(bytes);
    let begun = Instant::now();
    let result = load_text(Path::new(FILE), &text);
    assert!(begun.elapsed() < Duration::from_secs(10), "{text}");
    let lines = text.split('\n').count();
    for error in &result.errors {
        if let Error::Syntax { file, line, .. } | Error::Invalid { file, line, .. } = error
            && file == Path::new(FILE)
        {
            assert!((1..=lines).contains(line), "{error} in {lines} lines");
        }
    }
    assert_eq!(
        result.config,
        load_text(Path::new(FILE), &text).config,
        "the same text means the same"
    );
    result
}

#[test]
fn good_files_are_taken_and_bad_ones_refused() {
    let corpus = corpus();
    assert!(corpus.len() >= 9, "the corpus is there");
    for (file, bytes) in corpus {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let result = load(&bytes);
        // What the fuzzer adds may be either.
        match name.as_str() {
            "job" | "monitrc" | "kinds" | "crlf" | "quotes" => {
                assert!(result.errors.is_empty(), "{name}: {:?}", result.errors);
            }
            "bytes" | "circle" | "huge" | "open" => assert!(!result.errors.is_empty(), "{name}"),
            _ => {}
        }
        for end in 0..bytes.len() {
            load(&bytes[..end]);
        }
    }
}

#[test]
fn large_files_do_not_take_long() {
    use std::fmt::Write;
    let mut chain = String::new();
    let mut circle = String::new();
    for service in 0..5_000 {
        let next = service + 1;
        writeln!(
            chain,
            "check process s{service} with pidfile /s depends on s{next}"
        )
        .unwrap();
        let other = next % 5_000;
        writeln!(
            circle,
            "check process s{service} with pidfile /s depends on s{other}"
        )
        .unwrap();
    }
    assert_eq!(load(chain.as_bytes()).errors.len(), 5_000);
    assert_eq!(load(circle.as_bytes()).errors.len(), 1);
    for text in [
        "(",
        "\"",
        "'",
        "check ",
        "{",
        "a@",
        "http://",
        "\\",
        "start \"",
        "depends on a,",
    ] {
        load(text.repeat(5_000).as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn broken_files_break_nothing(
        file in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 4),
        junk in prop::collection::vec(any::<u8>(), 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let corpus = corpus();
        let mut bytes = file.get(&corpus).1.clone();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let from = &other.get(&corpus).1;
        let (begin, end) = (cuts[0].index(from.len()), cuts[1].index(from.len()));
        let (hole, after) = (cuts[2].index(bytes.len()), cuts[3].index(bytes.len()));
        let piece = [&from[begin.min(end)..begin.max(end)], &junk].concat();
        bytes.splice(hole.min(after)..hole.max(after), piece);
        load(&bytes);
    }
}
