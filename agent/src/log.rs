//! The agent's log. Under runit or systemd it goes to standard error, which they keep; as the first process of a container
//! the agent keeps it itself, where `bosh logs --agent` looks: `/var/vcap/bosh/log/current`, as runit's svlogd would.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// A file is turned over at this size, as svlogd does. Bytes.
const MAX_SIZE: u64 = 1_000_000;
/// How many files are kept beside the current one.
const KEEP: usize = 9;

/// Installs the log. `BOSH_AGENT_LOG` is one of error, warn, info, debug, trace; info without it.
pub fn init(dir: Option<PathBuf>) {
    let level = std::env::var("BOSH_AGENT_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    let log = tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .with_ansi(false);
    match dir.map(|dir| (Rotating::open(&dir), dir)) {
        None => log.with_writer(io::stderr).init(),
        Some((Ok(file), _)) => log.with_writer(file).init(),
        Some((Err(error), dir)) => {
            log.with_writer(io::stderr).init();
            tracing::warn!(dir = %dir.display(), %error, "cannot keep a log file");
        }
    }
}

/// `current` and up to nine older files `current.1` to `current.9`.
pub struct Rotating(Mutex<State>);

struct State {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Rotating {
    /// Goes on writing the file in this directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
        let path = dir.join("current");
        let file = open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self(Mutex::new(State { path, file, size })))
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

impl State {
    fn rotate(&mut self) -> io::Result<()> {
        let old = |n: usize| self.path.with_file_name(format!("current.{n}"));
        for n in (1..KEEP).rev() {
            match std::fs::rename(old(n), old(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, old(1))?;
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// Writes one event, which `tracing` hands over in one piece.
pub struct Writer<'a>(&'a Rotating);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.size + bytes.len() as u64 > MAX_SIZE && state.size > 0 {
            state.rotate()?;
        }
        state.file.write_all(bytes)?;
        state.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_over_and_keeps_ten() {
        let dir = tempfile::tempdir().unwrap();
        let line = vec![b'x'; 400_000];
        for _ in 0..2 {
            let log = Rotating::open(dir.path()).unwrap();
            for _ in 0..15 {
                log.make_writer().write_all(&line).unwrap();
            }
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 10);
        assert_eq!(names[0], "current");
        assert_eq!(names[9], "current.9");
        assert_eq!(
            std::fs::metadata(dir.path().join("current.9"))
                .unwrap()
                .len(),
            800_000
        );
    }
}
