//! `flock` with a deadline, on the object itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::Error;
use crate::error::Context;

/// How long a call waits for another one that works on the same object. Unpacking a large image is the longest.
const PATIENCE: Duration = Duration::from_secs(300);

/// Holds the lock until dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    _lock: Flock<File>,
}

impl Locked {
    /// None: the object is not there, or went while we waited.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).context(|| format!("could not open '{}'", path.display()));
            }
        };
        let identity = file.metadata().map(|m| (m.dev(), m.ino())).ok();
        let lock = acquire(file, path, PATIENCE)?;
        let now = std::fs::symlink_metadata(path)
            .map(|m| (m.dev(), m.ino()))
            .ok();
        Ok((now.is_some() && now == identity).then_some(Self { _lock: lock }))
    }

    /// Makes the file if it is not there.
    pub(super) fn file(path: &Path) -> Result<Self, Error> {
        // The record is replaced by rename, so its own inode cannot be the lock.
        let path = path.with_extension("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .context(|| format!("could not open '{}'", path.display()))?;
        Ok(Self {
            _lock: acquire(file, &path, PATIENCE)?,
        })
    }

    /// Whether nobody holds it now.
    pub(super) fn is_free(path: &Path) -> bool {
        File::open(path)
            .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok())
    }
}

fn acquire(file: File, path: &Path, patience: Duration) -> Result<Flock<File>, Error> {
    let until = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    let mut file = file;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < until => file = back,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(Error::Locked {
                    object: path.display().to_string(),
                    waited: patience,
                });
            }
            Err((_, errno)) => {
                return Err(errno).context(|| format!("could not lock '{}'", path.display()));
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_waits_for_the_first_and_gives_up_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let first = Locked::existing(dir.path()).unwrap().unwrap();
        let file = File::open(dir.path()).unwrap();
        let error = acquire(file, dir.path(), Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }));
        assert!(!Locked::is_free(dir.path()));
        drop(first);
        assert!(Locked::is_free(dir.path()));
    }

    #[test]
    fn what_went_while_waiting_is_not_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm");
        std::fs::create_dir(&path).unwrap();
        let first = Locked::existing(&path).unwrap().unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || Locked::existing(&path).unwrap().is_none()
        });
        std::fs::rename(&path, dir.path().join(".old-vm")).unwrap();
        drop(first);
        assert!(waiting.join().unwrap());
    }
}
