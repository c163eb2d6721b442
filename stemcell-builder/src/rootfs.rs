//! Work on a root filesystem from outside. Paths mean what they mean inside: links in the tree never lead out of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

/// The tree.
pub(crate) struct Rootfs {
    root: OwnedFd,
}

/// What went wrong, with which path.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} '{path}' in the tree")]
pub struct Error {
    operation: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

type Result<T> = std::result::Result<T, Error>;

impl Rootfs {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let file = File::open(root).map_err(|source| Error {
            operation: "open",
            path: root.display().to_string(),
            source,
        })?;
        Ok(Self { root: file.into() })
    }

    /// Makes a directory and those above it, or sets mode and owner of one that is there.
    pub(crate) fn directory(&self, path: &str, mode: u32, owner: &str) -> Result<()> {
        let wrap = wrap("make directory", path);
        let (uid, gid) = self.owner(owner).map_err(&wrap)?;
        (|| {
            let (parent, leaf) = self.parent(path)?;
            match mkdirat(&parent, leaf.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            fchownat(
                &parent,
                leaf.as_os_str(),
                Some(uid),
                Some(gid),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )?;
            let mode = Mode::from_bits_truncate(mode);
            fchmodat(
                &parent,
                leaf.as_os_str(),
                mode,
                FchmodatFlags::FollowSymlink,
            )?;
            Ok(())
        })()
        .map_err(wrap)
    }

    /// Writes a new file of root's in the place of whatever was there.
    pub(crate) fn write(&self, path: &str, mode: u32, content: &mut dyn Read) -> Result<()> {
        (|| {
            let (parent, leaf) = self.parent(path)?;
            remove_at(&parent, &leaf)?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let fd = openat(
                &parent,
                leaf.as_os_str(),
                flags,
                Mode::from_bits_truncate(0o600),
            )?;
            let mut file = File::from(fd);
            io::copy(content, &mut file)?;
            file.set_permissions(fs::Permissions::from_mode(mode))
        })()
        .map_err(wrap("write", path))
    }

    /// Adds to the end of a file, made if it is not there.
    pub(crate) fn append(&self, path: &str, text: &str) -> Result<()> {
        (|| {
            let (parent, leaf) = self.parent(path)?;
            let flags = OFlag::O_RDWR
                | OFlag::O_CREAT
                | OFlag::O_APPEND
                | OFlag::O_NOFOLLOW
                | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(
                &parent,
                leaf.as_os_str(),
                flags,
                Mode::from_bits_truncate(0o644),
            )?);
            let mut present = Vec::new();
            file.read_to_end(&mut present)?;
            // The last line of a file that was shipped may have no end.
            if present.last().is_some_and(|last| *last != b'\n') {
                file.write_all(b"\n")?;
            }
            file.write_all(text.as_bytes())
        })()
        .map_err(wrap("append to", path))
    }

    /// Makes a symbolic link in the place of whatever was there.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<()> {
        (|| {
            let (parent, leaf) = self.parent(path)?;
            remove_at(&parent, &leaf)?;
            Ok(symlinkat(target, &parent, leaf.as_os_str())?)
        })()
        .map_err(wrap("make link", path))
    }

    /// Removes a file or a tree, if it is there.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        (|| match self.existing_parent(path)? {
            Some((parent, leaf)) => remove_at(&parent, &leaf),
            None => Ok(()),
        })()
        .map_err(wrap("remove", path))
    }

    /// Removes what is in a directory.
    pub(crate) fn empty(&self, path: &str) -> Result<()> {
        (|| {
            let directory =
                match self.resolve(Path::new(path), OFlag::O_DIRECTORY | OFlag::O_RDONLY) {
                    Ok(directory) => directory,
                    Err(Errno::ENOENT) => return Ok(()),
                    Err(errno) => return Err(errno.into()),
                };
            for entry in fs::read_dir(by_descriptor(&directory))? {
                remove_at(&directory, &entry?.file_name())?;
            }
            Ok(())
        })()
        .map_err(wrap("empty", path))
    }

    /// The content of a file; none if it is not there.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>> {
        (|| match self.resolve(Path::new(path), OFlag::O_RDONLY) {
            Ok(fd) => {
                let mut text = String::new();
                File::from(fd).read_to_string(&mut text)?;
                Ok(Some(text))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        })()
        .map_err(wrap("read", path))
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, path, how)
    }

    /// The directory a path is in, made if it is not there, and the last part of the path.
    fn parent(&self, path: &str) -> io::Result<(OwnedFd, OsString)> {
        let (folder, leaf) = split(path)?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
        let parent = match self.resolve(&folder, flags) {
            Err(Errno::ENOENT) => {
                let (above, name) = self.parent(&folder.to_string_lossy())?;
                match mkdirat(&above, name.as_os_str(), Mode::from_bits_truncate(0o755)) {
                    Ok(()) => {
                        let mode = Mode::from_bits_truncate(0o755);
                        fchmodat(&above, name.as_os_str(), mode, FchmodatFlags::FollowSymlink)?;
                    }
                    Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
                self.resolve(&folder, flags)?
            }
            other => other?,
        };
        Ok((parent, leaf))
    }

    fn existing_parent(&self, path: &str) -> io::Result<Option<(OwnedFd, OsString)>> {
        let (folder, leaf) = split(path)?;
        match self.resolve(&folder, OFlag::O_DIRECTORY | OFlag::O_RDONLY) {
            Ok(parent) => Ok(Some((parent, leaf))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// `user:group` by the tree's own accounts.
    fn owner(&self, owner: &str) -> io::Result<(Uid, Gid)> {
        let (user, group) = owner.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let id = |file: &str, name: &str| -> io::Result<u32> {
            if name == "root" {
                return Ok(0);
            }
            let text = self
                .read(file)
                .map_err(io::Error::other)?
                .unwrap_or_default();
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(found, _)| *found == name)
                .and_then(|(_, rest)| rest.split(':').nth(1)?.parse().ok())
                .ok_or_else(|| io::Error::other(format!("'{file}' has no '{name}'")))
        };
        Ok((
            Uid::from_raw(id("/etc/passwd", user)?),
            Gid::from_raw(id("/etc/group", group)?),
        ))
    }
}

fn wrap(operation: &'static str, path: &str) -> impl Fn(io::Error) -> Error {
    move |source| Error {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn split(path: &str) -> io::Result<(PathBuf, OsString)> {
    let path = Path::new(path);
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(leaf)) => Ok((folder.to_owned(), leaf.to_owned())),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn by_descriptor(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Does not follow the last part, if it is a link.
fn remove_at(parent: &OwnedFd, leaf: &OsStr) -> io::Result<()> {
    let path = by_descriptor(parent).join(leaf);
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
        Ok(_) => fs::remove_file(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> (tempfile::TempDir, Rootfs) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let rootfs = Rootfs::open(&dir.path().join("root")).unwrap();
        (dir, rootfs)
    }

    #[test]
    fn links_in_the_tree_stay_in_the_tree() {
        let (dir, rootfs) = tree();
        let root = dir.path().join("root");
        symlink("/inner", root.join("abs")).unwrap();
        symlink("../../../../inner", root.join("up")).unwrap();
        fs::create_dir(root.join("inner")).unwrap();
        rootfs.write("/abs/a", 0o640, &mut "a".as_bytes()).unwrap();
        rootfs.write("/up/b", 0o600, &mut "b".as_bytes()).unwrap();
        assert_eq!(fs::read(root.join("inner/a")).unwrap(), b"a");
        assert_eq!(fs::read(root.join("inner/b")).unwrap(), b"b");
        assert_eq!(
            fs::metadata(root.join("inner/a"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o640
        );
    }

    #[test]
    fn a_file_replaces_a_link_and_does_not_follow_it() {
        let (dir, rootfs) = tree();
        let outside = dir.path().join("outside");
        fs::write(&outside, "x").unwrap();
        symlink(&outside, dir.path().join("root/f")).unwrap();
        rootfs.write("/f", 0o644, &mut "new".as_bytes()).unwrap();
        assert_eq!(fs::read(&outside).unwrap(), b"x");
        symlink(&outside, dir.path().join("root/g")).unwrap();
        assert!(rootfs.append("/g", "more").is_err());
        assert_eq!(fs::read(&outside).unwrap(), b"x");
        rootfs.remove("/g").unwrap();
        assert!(outside.exists());
    }

    #[test]
    fn lines_are_appended_to_whole_lines() {
        let (dir, rootfs) = tree();
        fs::write(dir.path().join("root/f"), "no end").unwrap();
        rootfs.append("/f", "a\n").unwrap();
        rootfs.append("/f", "b\n").unwrap();
        rootfs.append("/new/g", "c\n").unwrap();
        assert_eq!(rootfs.read("/f").unwrap().unwrap(), "no end\na\nb\n");
        assert_eq!(rootfs.read("/new/g").unwrap().unwrap(), "c\n");
        assert_eq!(rootfs.read("/none").unwrap(), None);
    }

    #[test]
    fn emptying_keeps_the_directory_and_removing_what_is_not_there_is_fine() {
        let (dir, rootfs) = tree();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/e/f"), "x").unwrap();
        rootfs.empty("/d").unwrap();
        assert_eq!(fs::read_dir(root.join("d")).unwrap().count(), 0);
        rootfs.empty("/none").unwrap();
        rootfs.remove("/none/at/all").unwrap();
        rootfs.remove("/d").unwrap();
        assert!(!root.join("d").exists());
    }

    #[test]
    fn owners_are_those_of_the_tree() {
        let (dir, rootfs) = tree();
        let root = dir.path().join("root");
        fs::create_dir(root.join("etc")).unwrap();
        let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
        fs::write(
            root.join("etc/passwd"),
            format!("me:x:{uid}:5::/:/bin/sh\n"),
        )
        .unwrap();
        fs::write(root.join("etc/group"), format!("us:x:{gid}:\n")).unwrap();
        rootfs.directory("/deep/er", 0o750, "me:us").unwrap();
        assert_eq!(
            fs::metadata(root.join("deep/er"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o750
        );
        let error = rootfs
            .directory("/x", 0o755, "nobody-known:us")
            .unwrap_err();
        assert!(error.source.to_string().contains("nobody-known"));
    }
}
