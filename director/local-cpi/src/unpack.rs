//! Unpacks a stemcell image: a tar of a root filesystem, gzipped or not, from somebody we do not trust.
//!
//! Names are resolved as the VM would resolve them (`openat2` with `RESOLVE_IN_ROOT`), so no link in the image leads out of
//! the target. Names with `..` are refused, device nodes are left out, and any error refuses the whole image. The `tar`
//! crate's own unpacking was not taken: it resolves each name through the file system of this machine.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, mkdirat, mknodat};
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::EntryType;

/// Most members an image may have.
const MAX_MEMBERS: usize = 5_000_000;
/// Most bytes an image may unpack to.
const MAX_BYTES: u64 = 256 << 30;

/// Why an image was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read it")]
    Open(#[source] io::Error),
    /// It is no tar, or it is cut off, or its checksum is wrong.
    #[error("it is not a whole tar archive")]
    Archive(#[source] io::Error),
    /// A member's name leads out of the image.
    #[error("member '{0}' has a path outside of the image")]
    Outside(String),
    /// It has more in it than any image needs.
    #[error("it has more than {0}")]
    TooLarge(String),
    /// A member cannot be made.
    #[error("could not unpack member '{name}'")]
    Member {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Unpacks the image into the empty directory `target`.
pub(crate) fn unpack(image: &Path, target: &Path) -> Result<(), Error> {
    let file = File::open(image).map_err(Error::Open)?;
    let mut magic = [0; 2];
    let zipped = file.read_at(&mut magic, 0).is_ok_and(|read| read == 2) && magic == [0x1f, 0x8b];
    if zipped {
        std::thread::scope(|scope| unpack_stream(inflate(scope, file), target))
    } else {
        unpack_stream(BufReader::with_capacity(1 << 20, file), target)
    }
}

/// Inflates on a thread of its own, a few blocks ahead of the reader.
fn inflate<'scope>(scope: &'scope std::thread::Scope<'scope, '_>, file: File) -> Blocks {
    let (sender, receiver) = std::sync::mpsc::sync_channel(4);
    scope.spawn(move || {
        let mut stream = flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 20, file));
        loop {
            let mut block = Vec::with_capacity(1 << 20);
            let read = (&mut stream).take(1 << 20).read_to_end(&mut block);
            let last = !matches!(read, Ok(read) if read > 0);
            // Nobody listens any more when the image was refused.
            if sender.send(read.map(|_| block)).is_err() || last {
                return;
            }
        }
    });
    Blocks {
        receiver,
        block: io::Cursor::new(Vec::new()),
    }
}

struct Blocks {
    receiver: std::sync::mpsc::Receiver<io::Result<Vec<u8>>>,
    block: io::Cursor<Vec<u8>>,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.block.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        match self.receiver.recv() {
            Ok(block) => {
                self.block = io::Cursor::new(block?);
                self.block.read(buffer)
            }
            Err(_) => Ok(0),
        }
    }
}

fn unpack_stream(stream: impl Read, target: &Path) -> Result<(), Error> {
    let root = File::open(target).map_err(Error::Open)?;
    let mut tree = Tree {
        root: root.into(),
        parent: None,
    };
    let mut archive = tar::Archive::new(stream);
    let mut bytes = 0_u64;
    let mut directories = Vec::new();
    for (count, entry) in archive.entries().map_err(Error::Archive)?.enumerate() {
        let mut entry = entry.map_err(Error::Archive)?;
        bytes = bytes.saturating_add(entry.size());
        if count >= MAX_MEMBERS {
            return Err(Error::TooLarge(format!("{MAX_MEMBERS} members")));
        }
        if bytes > MAX_BYTES {
            return Err(Error::TooLarge(format!("{} GiB", MAX_BYTES >> 30)));
        }
        let raw = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&raw).into_owned();
        let name = inside(Path::new(std::ffi::OsStr::from_bytes(&raw)))
            .ok_or_else(|| Error::Outside(shown.clone()))?;
        let mtime = entry.header().mtime().map_err(Error::Archive)?;
        tree.make(&mut entry, &name)
            .map_err(|failure| match failure {
                Failure::Outside => Error::Outside(shown.clone()),
                Failure::Archive(source) => Error::Archive(source),
                Failure::System(source) => Error::Member {
                    name: shown.clone(),
                    source,
                },
            })?;
        if entry.header().entry_type() == EntryType::Directory {
            directories.push((name, mtime));
        }
    }
    // The checksum comes after the archive's end.
    let rest = io::copy(&mut archive.into_inner().take(1 << 30), &mut io::sink())
        .map_err(Error::Archive)?;
    tracing::debug!(bytes, rest, "unpacked");
    // Last, because making what is in them touches them.
    for (name, mtime) in directories.iter().rev() {
        tree.set_time(name, *mtime)
            .map_err(|source| Error::Member {
                name: name.display().to_string(),
                source,
            })?;
    }
    Ok(())
}

/// The path without its leading `/` and `.`; None if it has `..` in it.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => out.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

enum Failure {
    Outside,
    Archive(io::Error),
    System(io::Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

struct Tree {
    root: OwnedFd,
    /// The directory of the last member: most follow one in the same.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl Tree {
    fn make(&mut self, entry: &mut tar::Entry<'_, impl Read>, name: &Path) -> Result<(), Failure> {
        let header = entry.header().clone();
        let kind = header.entry_type();
        let mode = Mode::from_bits_truncate(header.mode().map_err(Failure::Archive)? & 0o7777);
        let owner = |id: io::Result<u64>| {
            id.and_then(|id| u32::try_from(id).map_err(io::Error::other))
                .map_err(Failure::Archive)
        };
        let uid = Uid::from_raw(owner(header.uid())?);
        let gid = Gid::from_raw(owner(header.gid())?);
        let Some(leaf) = name.file_name() else {
            // The root itself, `./`.
            fchownat(&self.root, ".", Some(uid), Some(gid), AtFlags::empty())?;
            fchmod(&self.root, mode)?;
            return Ok(());
        };
        let folder = name.parent().unwrap_or(Path::new("")).to_owned();
        let parent = self.folder(&folder)?.try_clone()?;
        match kind {
            EntryType::Directory => {
                self.parent = None;
                make_directory(&parent, leaf)?;
                fchownat(
                    &parent,
                    leaf,
                    Some(uid),
                    Some(gid),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                )?;
                fchmodat(&parent, leaf, mode, FchmodatFlags::FollowSymlink)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                clear(&parent, leaf)?;
                let flags = OFlag::O_WRONLY
                    | OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                let fd = openat(&parent, leaf, flags, Mode::from_bits_truncate(0o600))?;
                let mut file = File::from(fd);
                io::copy(entry, &mut file)?;
                std::os::unix::fs::fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
                fchmod(&file, mode)?;
                let mtime = TimeSpec::new(header.mtime().map_err(Failure::Archive)? as i64, 0);
                nix::sys::stat::futimens(&file, &mtime, &mtime)?;
            }
            EntryType::Symlink => {
                let link = entry
                    .link_name_bytes()
                    .ok_or(Failure::Archive(io::ErrorKind::InvalidData.into()))?;
                clear(&parent, leaf)?;
                symlinkat(link.as_ref(), &parent, leaf)?;
                fchownat(
                    &parent,
                    leaf,
                    Some(uid),
                    Some(gid),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                )?;
            }
            EntryType::Link => {
                let link = entry
                    .link_name_bytes()
                    .ok_or(Failure::Archive(io::ErrorKind::InvalidData.into()))?;
                let link = inside(Path::new(std::ffi::OsStr::from_bytes(&link)))
                    .ok_or(Failure::Outside)?;
                let link_leaf = link.file_name().ok_or(Failure::Outside)?;
                let from = self.resolve(link.parent().unwrap_or(Path::new("")))?;
                clear(&parent, leaf)?;
                linkat(&from, link_leaf, &parent, leaf, AtFlags::empty())?;
            }
            EntryType::Fifo => {
                clear(&parent, leaf)?;
                mknodat(&parent, leaf, SFlag::S_IFIFO, mode, 0)?;
                fchownat(
                    &parent,
                    leaf,
                    Some(uid),
                    Some(gid),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                )?;
            }
            EntryType::Char | EntryType::Block => {
                tracing::debug!(name = %name.display(), "leaving out a device node");
            }
            EntryType::XGlobalHeader => {}
            other => {
                return Err(Failure::Archive(io::Error::other(format!(
                    "member of unknown type {other:?}"
                ))));
            }
        }
        Ok(())
    }

    fn folder(&mut self, folder: &Path) -> Result<&OwnedFd, Failure> {
        let fd = match self.parent.take() {
            Some((path, fd)) if path == folder => fd,
            _ => self.resolve_or_make(folder)?,
        };
        Ok(&self.parent.insert((folder.to_owned(), fd)).1)
    }

    /// Opens a directory as the VM would, links and all, without leaving the tree.
    fn resolve(&self, path: &Path) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// Archives may leave out directories.
    fn resolve_or_make(&self, path: &Path) -> Result<OwnedFd, Failure> {
        match self.resolve(path) {
            Err(Errno::ENOENT) => {}
            other => return Ok(other?),
        }
        let (Some(parent), Some(leaf)) = (path.parent(), path.file_name()) else {
            return Err(Errno::ENOENT.into());
        };
        let parent = self.resolve_or_make(parent)?;
        make_directory(&parent, leaf)?;
        Ok(self.resolve(path)?)
    }

    fn set_time(&self, name: &Path, mtime: u64) -> io::Result<()> {
        let parent = self.resolve(name.parent().unwrap_or(Path::new("")))?;
        let Some(leaf) = name.file_name() else {
            return Ok(());
        };
        let mtime = TimeSpec::new(mtime as i64, 0);
        utimensat(
            &parent,
            leaf,
            &mtime,
            &mtime,
            UtimensatFlags::NoFollowSymlink,
        )?;
        Ok(())
    }
}

/// A directory may be there already, or be a link to one that was unpacked before.
fn make_directory(parent: &OwnedFd, leaf: &std::ffi::OsStr) -> nix::Result<()> {
    match mkdirat(parent, leaf, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => {
            let open = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
            match openat(parent, leaf, open, Mode::empty()) {
                Ok(_) => Ok(()),
                // Not a directory: it gives way, as in tar.
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    unlinkat(parent, leaf, UnlinkatFlags::NoRemoveDir)?;
                    mkdirat(parent, leaf, Mode::from_bits_truncate(0o755))
                }
                Err(errno) => Err(errno),
            }
        }
        other => other,
    }
}

/// A later member of the same name replaces an earlier one.
fn clear(parent: &OwnedFd, leaf: &std::ffi::OsStr) -> nix::Result<()> {
    match unlinkat(parent, leaf, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// Whether `path` is an executable file in the tree at `root`, as the VM would resolve it.
pub(crate) fn is_executable(root: &Path, path: &str) -> bool {
    let Ok(root) = openat(
        AT_FDCWD,
        root,
        OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    ) else {
        return false;
    };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root.as_fd(), path, how)
        .map(File::from)
        .and_then(|file| file.metadata().map_err(|_| Errno::EIO))
        .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// A tar with members as given: name, kind, link, content. Names are written as they are, whatever they contain.
    fn image(members: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, link, content) in members {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_mtime(1_700_000_000);
            header.set_uid(u64::from(nix::unistd::getuid().as_raw()));
            header.set_gid(u64::from(nix::unistd::getgid().as_raw()));
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<(), Error>) {
        let dir = tempfile::tempdir().unwrap();
        let (file, target) = (dir.path().join("image"), dir.path().join("rootfs"));
        fs::write(&file, bytes).unwrap();
        fs::create_dir(&target).unwrap();
        let result = unpack(&file, &target);
        (dir, result)
    }

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn an_ordinary_image_is_unpacked_plain_and_zipped() {
        let bytes = image(&[
            ("./", EntryType::Directory, "", b""),
            ("./usr/", EntryType::Directory, "", b""),
            ("./usr/bin/", EntryType::Directory, "", b""),
            ("./bin", EntryType::Symlink, "usr/bin", b""),
            ("./usr/bin/tool", EntryType::Regular, "", b"hello"),
            ("./usr/bin/alias", EntryType::Link, "./usr/bin/tool", b""),
            ("./bin/through-link", EntryType::Regular, "", b"x"),
            ("./no/parent/given", EntryType::Regular, "", b"y"),
        ]);
        for bytes in [bytes.clone(), zipped(&bytes)] {
            let (dir, result) = unpacked(&bytes);
            result.unwrap();
            let root = dir.path().join("rootfs");
            assert_eq!(fs::read(root.join("usr/bin/tool")).unwrap(), b"hello");
            assert_eq!(fs::read(root.join("usr/bin/alias")).unwrap(), b"hello");
            assert_eq!(fs::read(root.join("usr/bin/through-link")).unwrap(), b"x");
            assert_eq!(fs::read(root.join("no/parent/given")).unwrap(), b"y");
            assert_eq!(
                fs::metadata(root.join("usr/bin")).unwrap().mtime(),
                1_700_000_000
            );
            assert!(is_executable(&root, "/bin/tool"));
            assert!(!is_executable(&root, "/usr"));
        }
    }

    #[test]
    fn links_do_not_lead_out() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        let up = "../../../../../../../..";
        for link in [target.to_owned(), format!("{up}{target}"), up.to_owned()] {
            let (dir, result) = unpacked(&image(&[
                ("d", EntryType::Symlink, &link, b""),
                ("d/evil", EntryType::Regular, "", b"x"),
            ]));
            // Refused or kept inside: both are fine, outside is not.
            drop(result);
            assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{link}");
            assert!(!dir.path().join("evil").exists());
        }
    }

    #[test]
    fn a_file_does_not_go_through_a_link_of_its_own_name() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let target = outside.path().to_str().unwrap();
        let (dir, result) = unpacked(&image(&[
            ("f", EntryType::Symlink, target, b""),
            ("f", EntryType::Regular, "", b"x"),
        ]));
        result.unwrap();
        assert_eq!(fs::read(outside.path()).unwrap(), b"");
        assert_eq!(fs::read(dir.path().join("rootfs/f")).unwrap(), b"x");
    }

    #[test]
    fn names_with_dots_are_refused() {
        for (name, kind, link) in [
            ("../evil", EntryType::Regular, ""),
            ("a/../../evil", EntryType::Regular, ""),
            ("hard", EntryType::Link, "../image"),
        ] {
            let (_dir, result) = unpacked(&image(&[(name, kind, link, b"")]));
            assert!(matches!(result, Err(Error::Outside(_))), "{name}");
        }
    }

    #[test]
    fn absolute_names_stay_inside() {
        let (dir, result) = unpacked(&image(&[("/etc/passwd", EntryType::Regular, "", b"x")]));
        result.unwrap();
        assert_eq!(
            fs::read(dir.path().join("rootfs/etc/passwd")).unwrap(),
            b"x"
        );
    }

    #[test]
    fn devices_are_left_out() {
        let (dir, result) = unpacked(&image(&[("sda", EntryType::Block, "", b"")]));
        result.unwrap();
        assert!(!dir.path().join("rootfs/sda").exists());
    }

    #[test]
    fn what_is_cut_off_or_no_archive_is_refused() {
        let whole = image(&[("f", EntryType::Regular, "", &[7; 5000])]);
        let gz = zipped(&whole);
        let mut wrong_sum = gz.clone();
        let at = wrong_sum.len() - 6;
        wrong_sum[at] ^= 1;
        for bytes in [
            &whole[..2000],
            &gz[..gz.len() - 9],
            &wrong_sum[..],
            b"this is no archive at all",
        ] {
            let (_dir, result) = unpacked(bytes);
            assert!(
                matches!(result, Err(Error::Archive(_) | Error::Member { .. })),
                "{result:?}"
            );
        }
    }
}
