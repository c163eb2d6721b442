//! The layer of packages, kept between bakes: installing them is most of the time, and the agent changes more often.
//!
//! A layer's name has a digest of what went in: operating system, packages, sources. It is made under a temporary name
//! and renamed when whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::bootstrap::{self, Origin};
use crate::command;
use crate::plan::Plan;
use crate::recipe::Os;

/// Changed when layers made before are of no use any more.
const FORMAT: u32 = 1;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another bake has the work directory.
    #[error("another bake is at work in '{}'", .0.display())]
    Busy(PathBuf),
    /// The file system.
    #[error("could not {operation} '{}'", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The packages were not installed.
    #[error("could not install the packages")]
    Install(#[source] command::Error),
}

/// The directory where layers are kept, locked.
pub(crate) struct Work {
    path: PathBuf,
    _lock: Flock<File>,
}

/// Packages in a directory.
pub(crate) struct Layer {
    /// The tree; not to be changed.
    pub(crate) rootfs: PathBuf,
    /// For what packing keeps.
    pub(crate) blocks: PathBuf,
    /// When it was made, in seconds since 1970.
    pub(crate) made: u64,
    /// Whether it was here already.
    pub(crate) kept: bool,
}

#[derive(Serialize, Deserialize)]
struct Record {
    made: u64,
}

impl Work {
    /// Makes the directory if it is not there and removes what a killed bake left in it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(failed("make", path))?;
        let path = path.canonicalize().map_err(failed("find", path))?;
        let file = path.join("lock");
        let lock = File::create(&file).map_err(failed("make", &file))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| Error::Busy(path.clone()))?;
        for entry in fs::read_dir(&path)
            .map_err(failed("list", &path))?
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                remove(&entry.path())?;
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// An empty directory that the next [`Work::open`] removes if nobody does before.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(format!(".new-{name}"));
        remove(&path)?;
        fs::create_dir(&path).map_err(failed("make", &path))?;
        Ok(path)
    }

    /// The layer for a plan: the one kept, or a new one.
    pub(crate) fn layer(
        &self,
        os: Os,
        plan: &Plan,
        origin: &Origin,
        refresh: bool,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Layer, Error> {
        let target = self.path.join(name(os, plan, origin));
        if refresh {
            remove(&target)?;
        }
        if let Some(record) = read(&target) {
            return Ok(Layer {
                rootfs: target.join("rootfs"),
                blocks: target.join("blocks"),
                made: record.made,
                kept: true,
            });
        }
        let draft = self.scratch("layer")?;
        let rootfs = draft.join("rootfs");
        fs::create_dir(&rootfs).map_err(failed("make", &rootfs))?;
        let made = now();
        bootstrap::install(os, &plan.bootstrap, origin, &rootfs, made, progress)
            .map_err(Error::Install)?;
        let record = draft.join("layer.json");
        let text = serde_json::to_vec(&Record { made })
            .map_err(|error| failed("write", &record)(error.into()))?;
        fs::write(&record, text).map_err(failed("write", &record))?;
        remove(&target)?;
        fs::rename(&draft, &target).map_err(failed("make", &target))?;
        Ok(Layer {
            rootfs: target.join("rootfs"),
            blocks: target.join("blocks"),
            made,
            kept: false,
        })
    }
}

/// The time that files are stamped with at most: SOURCE_DATE_EPOCH if it is set.
/// Source: reproducible-builds.org/specs/source-date-epoch.
fn now() -> u64 {
    let given = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}

pub(crate) fn name(os: Os, plan: &Plan, origin: &Origin) -> String {
    let key = serde_json::json!([FORMAT, os, plan.bootstrap, origin]).to_string();
    let digest = Sha1::digest(key.as_bytes());
    let digits: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{os}-{digits}")
}

fn read(layer: &Path) -> Option<Record> {
    let text = fs::read(layer.join("layer.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::tests::recipe;

    fn origin(source: &str) -> Origin {
        Origin {
            sources: vec![source.into()],
            options: vec![],
        }
    }

    #[test]
    fn the_name_follows_what_goes_in_and_nothing_else() {
        let os = Os::DebianBookworm;
        let plan = Plan::new(&recipe(os));
        let mut other = plan.clone();
        other.stages.clear();
        other.stemcell = "another".into();
        let first = name(os, &plan, &origin("a"));
        assert_eq!(
            first,
            name(os, &other, &origin("a")),
            "stages are not in the layer"
        );
        assert_ne!(first, name(os, &plan, &origin("b")));
        other.bootstrap.packages.pop();
        assert_ne!(first, name(os, &other, &origin("a")));
    }

    #[test]
    fn a_kept_layer_is_used_and_one_bake_works_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let os = Os::DebianBookworm;
        let plan = Plan::new(&recipe(os));
        let layer = dir.path().join(name(os, &plan, &origin("a")));
        fs::create_dir_all(layer.join("rootfs")).unwrap();
        fs::write(layer.join("layer.json"), r#"{"made": 7}"#).unwrap();
        fs::create_dir(dir.path().join(".new-layer")).unwrap();
        let work = Work::open(dir.path()).unwrap();
        assert!(!dir.path().join(".new-layer").exists());
        let found = work
            .layer(os, &plan, &origin("a"), false, &mut |_| {})
            .unwrap();
        assert!(found.kept && found.made == 7);
        assert!(matches!(Work::open(dir.path()), Err(Error::Busy(_))));
    }
}
