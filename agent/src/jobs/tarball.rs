//! Taking a tar apart, entry by entry, where none can reach outside the directory it is for.
//!
//! What is written lies below the target whatever the archive says: names that are absolute or climb are refused, and a
//! name that goes through a link of the archive is followed only if it stays inside. Links themselves may point anywhere,
//! as compiled packages have links into other packages and the operating system. Devices, pipes and the like are refused,
//! and so is more than fits.

use super::Error;
use std::{
    collections::HashSet,
    fs, io,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};
use tar::{Archive, Entry, EntryType};

/// The most entries a tarball may have: a large compiled package has some 50,000.
const MAX_ENTRIES: u64 = 2_000_000;

/// A directory to be filled, and with what part of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// An empty directory.
    pub dir: PathBuf,
    /// The top-level directory of the archive whose content it takes; all of the archive if `None`.
    pub prefix: Option<String>,
}

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Entries of any kind.
    pub entries: u64,
}

impl Limits {
    /// Nearly all that is free where `dir` is.
    pub fn of(dir: &Path) -> Result<Self, Error> {
        let stat = nix::sys::statvfs::statvfs(dir)
            .map_err(|e| Error::file("looking at the filesystem of", dir, e.into()))?;
        let bytes = stat.blocks_available() as u64 * stat.fragment_size() as u64;
        Ok(Self {
            bytes: bytes - bytes / 50,
            entries: MAX_ENTRIES,
        })
    }
}

/// Unpacks an uncompressed tar. Every target must have got something.
pub fn unpack(reader: impl Read, targets: &[Target], limits: Limits) -> Result<(), Error> {
    let mut roots = targets
        .iter()
        .map(Root::new)
        .collect::<Result<Vec<_>, _>>()?;
    let mut archive = Archive::new(reader);
    let mut left = limits;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        left.entries = left.entries.checked_sub(1).ok_or_else(|| {
            Error::Archive(format!(
                "the archive has more than {} entries",
                limits.entries
            ))
        })?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let raw = entry.path_bytes().into_owned();
        let path = relative(&raw)?;
        if kind.is_file() || kind.is_gnu_sparse() {
            left.bytes = left.bytes.checked_sub(entry.size()).ok_or_else(|| {
                Error::Archive(format!(
                    "the archive unpacks to more than the {} bytes that are free",
                    limits.bytes
                ))
            })?;
        }
        for root in &mut roots {
            if let Some(below) = root.claims(&path) {
                root.taken = true;
                root.place(&mut entry, kind, &below)?;
                // A file can be read but once; targets have prefixes of their own.
                break;
            }
        }
    }
    for root in roots {
        if !root.taken && root.prefix.is_some() {
            let prefix = root.prefix.unwrap_or_default();
            return Err(Error::Archive(format!(
                "the archive has no directory '{}'",
                prefix.display()
            )));
        }
        root.finish()?;
    }
    Ok(())
}

/// An entry's name without `.` components; refused if it leads out.
fn relative(raw: &[u8]) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(raw));
    let refused = || {
        Error::Archive(format!(
            "the entry '{}' leads out of the archive",
            path.display()
        ))
    };
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) if !part.as_bytes().contains(&0) => clean.push(part),
            Component::CurDir => {}
            _ => return Err(refused()),
        }
    }
    Ok(clean)
}

pub(super) fn damaged(error: io::Error) -> Error {
    match bosh_blobstore::Error::from_io(error) {
        Ok(error) => Error::Blob(error),
        Err(error) => Error::Archive(format!("the archive is damaged: {error}")),
    }
}

/// One target while it is being filled.
struct Root {
    dir: PathBuf,
    /// `dir` without links.
    real: PathBuf,
    prefix: Option<PathBuf>,
    taken: bool,
    /// Parents known to exist below `dir`, not through a link.
    safe: HashSet<PathBuf>,
    /// Directories get their mode and time when nothing more is put into them.
    dirs: Vec<(PathBuf, u32, u64)>,
    buffer: Box<[u8]>,
}

impl Root {
    fn new(target: &Target) -> Result<Self, Error> {
        let real = target
            .dir
            .canonicalize()
            .map_err(|e| Error::file("opening", &target.dir, e))?;
        Ok(Self {
            dir: target.dir.clone(),
            real,
            prefix: target.prefix.as_ref().map(PathBuf::from),
            taken: false,
            safe: HashSet::new(),
            dirs: Vec::new(),
            buffer: vec![0; 128 * 1024].into_boxed_slice(),
        })
    }

    fn claims(&self, path: &Path) -> Option<PathBuf> {
        match &self.prefix {
            None => Some(path.to_owned()),
            Some(prefix) => path.strip_prefix(prefix).ok().map(Path::to_owned),
        }
    }

    fn place<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        kind: EntryType,
        below: &Path,
    ) -> Result<(), Error> {
        let mode = entry.header().mode().map_err(damaged)? & 0o7777;
        let mtime = entry.header().mtime().unwrap_or(0);
        let path = self.dir.join(below);
        if below.as_os_str().is_empty() {
            // The directory itself: its owner and mode are for whoever made it to say.
            return if kind.is_dir() {
                Ok(())
            } else {
                Err(odd(&path, kind))
            };
        }
        self.check_parent(below)?;
        match kind {
            EntryType::Directory => {
                self.make_dir(&path)?;
                self.dirs.push((path, mode, mtime));
                Ok(())
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.clear(&path)?;
                write_file(entry, &path, mode, mtime, &mut self.buffer)
            }
            EntryType::Symlink => {
                let target = link_name(entry, &path)?;
                self.clear(&path)?;
                std::os::unix::fs::symlink(&target, &path)
                    .map_err(|e| Error::file("linking", &path, e))
            }
            EntryType::Link => {
                let target = self.hard_link_target(entry, &path)?;
                if target == path {
                    return Ok(());
                }
                self.clear(&path)?;
                fs::hard_link(&target, &path).map_err(|e| Error::file("linking", &path, e))
            }
            other => Err(odd(below, other)),
        }
    }

    /// Makes the directories above `below`, and refuses if a link of the archive takes them elsewhere.
    fn check_parent(&mut self, below: &Path) -> Result<(), Error> {
        let Some(parent) = below.parent().filter(|p| !p.as_os_str().is_empty()) else {
            return Ok(());
        };
        if self.safe.contains(parent) {
            return Ok(());
        }
        let mut at = PathBuf::new();
        for part in parent.components() {
            at.push(part);
            if self.safe.contains(&at) {
                continue;
            }
            let path = self.dir.join(&at);
            match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => {
                    self.safe.insert(at.clone());
                }
                Ok(meta) if meta.is_symlink() => {
                    let real = path.canonicalize().map_err(|_| outside(below))?;
                    if !real.starts_with(&self.real) || !real.is_dir() {
                        return Err(outside(below));
                    }
                }
                Ok(_) => {
                    return Err(Error::Archive(format!(
                        "'{}' is both a file and a directory",
                        at.display()
                    )));
                }
                Err(_) => {
                    fs::create_dir(&path).map_err(|e| Error::file("making directory", &path, e))?;
                    self.safe.insert(at.clone());
                }
            }
        }
        Ok(())
    }

    fn make_dir(&mut self, path: &Path) -> Result<(), Error> {
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => Ok(()),
            // As tar does: a link to a directory inside may stand for it.
            Ok(meta)
                if meta.is_symlink()
                    && path
                        .canonicalize()
                        .is_ok_and(|real| real.starts_with(&self.real) && real.is_dir()) =>
            {
                Ok(())
            }
            Ok(_) => {
                self.clear(path)?;
                fs::create_dir(path).map_err(|e| Error::file("making directory", path, e))
            }
            Err(_) => fs::create_dir(path).map_err(|e| Error::file("making directory", path, e)),
        }
    }

    /// Makes way for an entry: the last one of a name counts, but a directory stays.
    fn clear(&mut self, path: &Path) -> Result<(), Error> {
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => fs::remove_dir(path)
                .map_err(|_| {
                    Error::Archive(format!(
                        "'{}' is both a file and a directory",
                        path.display()
                    ))
                })
                .map(|()| {
                    // Whatever was thought of directories may not be true any more.
                    self.safe.clear();
                    self.dirs.retain(|(dir, ..)| dir != path);
                }),
            Ok(_) => fs::remove_file(path).map_err(|e| Error::file("replacing", path, e)),
            Err(_) => Ok(()),
        }
    }

    fn hard_link_target<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        path: &Path,
    ) -> Result<PathBuf, Error> {
        let name = entry
            .link_name_bytes()
            .ok_or_else(|| odd(path, EntryType::Link))?;
        let target = relative(&name)?;
        let below = self.claims(&target).ok_or_else(|| outside(&target))?;
        self.check_parent(&below)?;
        let target = self.dir.join(below);
        match target.symlink_metadata() {
            Ok(meta) if !meta.is_dir() => Ok(target),
            _ => Err(Error::Archive(format!(
                "the link '{}' points to nothing in the archive",
                path.display()
            ))),
        }
    }

    fn finish(self) -> Result<(), Error> {
        for (path, mode, mtime) in self.dirs.into_iter().rev() {
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if !meta.is_dir() {
                continue;
            }
            let wrap = |e| Error::file("finishing directory", &path, e);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(wrap)?;
            fs::File::open(&path)
                .and_then(|dir| dir.set_modified(time(mtime)))
                .map_err(wrap)?;
        }
        Ok(())
    }
}

fn write_file<R: Read>(
    entry: &mut Entry<'_, R>,
    path: &Path,
    mode: u32,
    mtime: u64,
    buffer: &mut [u8],
) -> Result<(), Error> {
    let wrap = |e| Error::file("writing", path, e);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(wrap)?;
    let mut left = entry.size();
    while left > 0 {
        let read = entry.read(buffer).map_err(damaged)?;
        if read == 0 {
            return Err(Error::Archive(format!(
                "the archive ends in the middle of '{}'",
                path.display()
            )));
        }
        file.write_all(&buffer[..read]).map_err(wrap)?;
        left = left.saturating_sub(read as u64);
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(wrap)?;
    file.set_modified(time(mtime)).map_err(wrap)
}

fn link_name<R: Read>(entry: &Entry<'_, R>, path: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStrExt;
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() && !name.contains(&0) => {
            Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&name)))
        }
        _ => Err(odd(path, EntryType::Symlink)),
    }
}

fn time(mtime: u64) -> SystemTime {
    // A time beyond what a filesystem takes is no reason to refuse a file.
    SystemTime::UNIX_EPOCH + Duration::from_secs(mtime.min(u64::from(u32::MAX)))
}

fn outside(path: &Path) -> Error {
    Error::Archive(format!(
        "the entry '{}' leads out of the archive through a link",
        path.display()
    ))
}

fn odd(path: &Path, kind: EntryType) -> Error {
    Error::Archive(format!(
        "the entry '{}' is of a kind that is not allowed: {kind:?}",
        path.display()
    ))
}
