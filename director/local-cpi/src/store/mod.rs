//! What the CPI remembers, as files under its root. There is no process that lives on: every invocation reads them anew.
//!
//! ```text
//! stemcells/<cid>/{stemcell.json, rootfs/}
//! vms/<cid>/{vm.json, settings.json, config.json, upper/, work/, rootfs/, data/, console.log}
//! disks/<cid>/{disk.json, data/ or disk.img}
//! snapshots/<cid>/{disk.json, data/ or disk.img}
//! runc/          the container runtime's own state
//! network.json   what was made for the bridge; also the lock for addresses and the bridge
//! ```
//!
//! A directory is its own lock: `flock` on it, then a look whether it is still there. An object appears by a rename of a
//! `.new-` directory and disappears by a rename to a `.old-` one, so a record is either whole or absent.

mod lock;
mod record;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(crate) use lock::Locked;
pub(crate) use record::{
    Attached, DiskKind, DiskRecord, Masquerade, NetworkRecord, StemcellRecord, VmRecord,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::error::Context;
use crate::ids::{DiskCid, SnapshotCid, StemcellCid, VmCid};

/// The root directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

/// A kind of object: its folder and its record's file name.
pub(crate) trait Kind {
    /// Folder under the root.
    const FOLDER: &'static str;
    /// File name of the record.
    const FILE: &'static str;
    /// The record.
    type Record: Serialize + DeserializeOwned;
    /// The error for an object that is not there.
    fn missing(cid: &str) -> Error;
    /// The id as a file name.
    fn name(&self) -> &str;
    /// An id from a file name.
    fn from_name(name: String) -> Option<Self>
    where
        Self: Sized;
}

macro_rules! kind {
    ($cid:ty, $folder:literal, $file:literal, $record:ty, $missing:expr) => {
        impl Kind for $cid {
            const FOLDER: &'static str = $folder;
            const FILE: &'static str = $file;
            type Record = $record;
            fn missing(cid: &str) -> Error {
                $missing(cid.to_owned())
            }
            fn name(&self) -> &str {
                self.as_str()
            }
            fn from_name(name: String) -> Option<Self> {
                Self::try_from(name).ok()
            }
        }
    };
}

kind!(VmCid, "vms", "vm.json", VmRecord, Error::VmNotFound);
kind!(
    DiskCid,
    "disks",
    "disk.json",
    DiskRecord,
    Error::DiskNotFound
);
kind!(
    StemcellCid,
    "stemcells",
    "stemcell.json",
    StemcellRecord,
    Error::StemcellNotFound
);
kind!(
    SnapshotCid,
    "snapshots",
    "disk.json",
    DiskRecord,
    Error::SnapshotNotFound
);

impl Store {
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        for folder in ["vms", "disks", "stemcells", "snapshots", "runc"] {
            make_dir(&root.join(folder))?;
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The runtime's state directory.
    pub(crate) fn runc(&self) -> PathBuf {
        self.root.join("runc")
    }

    /// The file that records the bridge.
    pub(crate) fn network_file(&self) -> PathBuf {
        self.root.join("network.json")
    }

    /// Where an object lives.
    pub(crate) fn dir<K: Kind>(&self, cid: &K) -> PathBuf {
        self.root.join(K::FOLDER).join(cid.name())
    }

    /// Locks an object that exists.
    pub(crate) fn lock<K: Kind>(&self, cid: &K) -> Result<Locked, Error> {
        Locked::existing(&self.dir(cid))?.ok_or_else(|| K::missing(cid.name()))
    }

    /// Locks addresses and the bridge.
    pub(crate) fn lock_network(&self) -> Result<Locked, Error> {
        Locked::file(&self.network_file())
    }

    /// Whether an object with a record is there.
    pub(crate) fn exists<K: Kind>(&self, cid: &K) -> bool {
        self.dir(cid).join(K::FILE).is_file()
    }

    pub(crate) fn read<K: Kind>(&self, cid: &K) -> Result<K::Record, Error> {
        let path = self.dir(cid).join(K::FILE);
        match read_json(&path)? {
            Some(record) => Ok(record),
            None => Err(K::missing(cid.name())),
        }
    }

    pub(crate) fn write<K: Kind>(&self, cid: &K, record: &K::Record) -> Result<(), Error> {
        write_json(&self.dir(cid).join(K::FILE), record)
    }

    /// All objects of a kind, in the order of their ids.
    pub(crate) fn list<K: Kind + Ord>(&self) -> Result<Vec<K>, Error> {
        let folder = self.root.join(K::FOLDER);
        let entries =
            fs::read_dir(&folder).context(|| format!("could not list '{}'", folder.display()))?;
        let mut cids = Vec::new();
        for entry in entries {
            let entry = entry.context(|| format!("could not list '{}'", folder.display()))?;
            // Names that begin with a dot are half-made or half-gone; `from_name` refuses them.
            if let Some(cid) = entry.file_name().into_string().ok().and_then(K::from_name) {
                cids.push(cid);
            }
        }
        cids.sort();
        Ok(cids)
    }

    /// A new directory for an object, not visible under its id until [`Draft::publish`].
    pub(crate) fn draft<K: Kind>(&self, cid: &K) -> Result<Draft, Error> {
        let folder = self.root.join(K::FOLDER);
        self.sweep(&folder)?;
        let path = folder.join(format!(".new-{}", cid.name()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .context(|| format!("could not make '{}'", path.display()))?;
        let lock = Locked::existing(&path)?;
        Ok(Draft {
            target: self.dir(cid),
            path,
            _lock: lock,
            published: false,
        })
    }

    /// Takes an object away: invisible at once, then removed. Nothing to do if it is not there.
    pub(crate) fn remove<K: Kind>(&self, cid: &K) -> Result<(), Error> {
        let gone = self
            .root
            .join(K::FOLDER)
            .join(format!(".old-{}", cid.name()));
        match fs::rename(self.dir(cid), &gone) {
            Ok(()) => remove_tree(&gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(error).context(|| format!("could not remove '{}'", self.dir(cid).display()))
            }
        }
    }

    /// Removes what a killed invocation left half-made or half-removed.
    fn sweep(&self, folder: &Path) -> Result<(), Error> {
        let entries =
            fs::read_dir(folder).context(|| format!("could not list '{}'", folder.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if (name.starts_with(".new-") || name.starts_with(".old-"))
                && Locked::is_free(&entry.path())
            {
                tracing::info!(path = %entry.path().display(), "removing what an earlier call left");
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// A directory that is being filled; dropped without [`Draft::publish`] it is removed.
pub(crate) struct Draft {
    path: PathBuf,
    target: PathBuf,
    _lock: Option<Locked>,
    published: bool,
}

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the record.
    pub(crate) fn record<R: Serialize>(&self, file: &str, record: &R) -> Result<(), Error> {
        write_json(&self.path.join(file), record)
    }

    /// Makes the object visible under its id.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        fs::rename(&self.path, &self.target)
            .context(|| format!("could not make '{}'", self.target.display()))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove_tree(&self.path)
        {
            tracing::warn!(error = %crate::error::chain(&error), "could not remove a half-made object");
        }
    }
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("could not make '{}'", path.display()))
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(|| format!("could not remove '{}'", path.display())),
    }
}

/// None: there is no such file, or it is empty.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(|| format!("could not read '{}'", path.display())),
    };
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| Error::Record {
            path: path.display().to_string(),
            source,
        })
}

/// Temporary name, fsync, rename; readable by root only, for settings carry keys.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let operation = || format!("could not write '{}'", path.display());
    let text = serde_json::to_vec_pretty(value)
        .map_err(io::Error::other)
        .context(operation)?;
    let temporary = path.with_extension("json.tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .context(operation)?;
    file.write_all(&text).context(operation)?;
    file.sync_all().context(operation)?;
    fs::rename(&temporary, path).context(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> DiskRecord {
        DiskRecord::new(10, DiskKind::Directory)
    }

    #[test]
    fn an_object_appears_whole_and_disappears_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cid = DiskCid::generate();
        let draft = store.draft(&cid).unwrap();
        draft.record(DiskCid::FILE, &disk()).unwrap();
        assert!(!store.exists(&cid));
        assert_eq!(store.list::<DiskCid>().unwrap(), []);
        draft.publish().unwrap();
        assert!(store.exists(&cid));
        assert_eq!(store.list::<DiskCid>().unwrap(), std::slice::from_ref(&cid));
        assert_eq!(store.read(&cid).unwrap().size, 10);
        store.remove(&cid).unwrap();
        store.remove(&cid).unwrap();
        assert!(matches!(store.read(&cid), Err(Error::DiskNotFound(_))));
    }

    #[test]
    fn a_dropped_draft_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        drop(store.draft(&DiskCid::generate()).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("disks")).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_a_killed_call_are_swept_and_live_drafts_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let leftover = dir.path().join("disks/.new-disk-dead");
        fs::create_dir(&leftover).unwrap();
        let live = store.draft(&DiskCid::generate()).unwrap();
        let second = store.draft(&DiskCid::generate()).unwrap();
        assert!(!leftover.exists());
        assert!(live.path().exists());
        drop(second);
    }

    #[test]
    fn a_damaged_record_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cid = DiskCid::generate();
        fs::create_dir(store.dir(&cid)).unwrap();
        fs::write(store.dir(&cid).join("disk.json"), "{").unwrap();
        let error = store.read(&cid).unwrap_err();
        assert!(error.to_string().contains("disk.json"), "{error}");
    }
}
