//! Files and directories: made whole or not at all, with the owners and modes upstream gives them.

use super::{Error, InstanceFiles};
use std::{
    ffi::OsString,
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Makes a directory and its parents; only one made here gets the mode.
pub(crate) fn mkdir(path: &Path, mode: u32) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(|e| Error::file("making directory", path, e))?;
    chmod(path, mode)
}

/// Sets the mode of a file or directory.
pub(crate) fn chmod(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Error::file("setting the mode of", path, e))
}

/// Replaces a file by one of this content, in one step that survives a crash.
pub(crate) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let wrap = |e| Error::file("writing", path, e);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(wrap)?;
    }
    let temporary = beside(path);
    let result =
        write_new(&temporary, content, mode).and_then(|()| match fs::rename(&temporary, path) {
            // /etc/hosts and the like may be mounted over by a container's runtime; then there is no replacing them.
            Err(e) if matches!(e.raw_os_error(), Some(nix::libc::EBUSY | nix::libc::EXDEV)) => {
                fs::remove_file(&temporary)?;
                fs::write(path, content)
            }
            other => other,
        });
    if result.is_err() {
        // The error that matters is the one before this.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(wrap)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// A name next to `path` that nothing else uses.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", uuid::Uuid::new_v4()));
    path.with_file_name(name)
}

/// Makes `link` point to `target`, replacing a link, a file or an empty directory that is there.
pub(crate) fn symlink(target: &Path, link: &Path) -> Result<(), Error> {
    let wrap = |e| Error::file("linking", link, e);
    if fs::read_link(link).is_ok_and(|there| there == target) {
        return Ok(());
    }
    if let Some(dir) = link.parent() {
        fs::create_dir_all(dir).map_err(wrap)?;
    }
    if link.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir(link).map_err(wrap)?;
    }
    let temporary = beside(link);
    std::os::unix::fs::symlink(target, &temporary).map_err(wrap)?;
    fs::rename(&temporary, link)
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .map_err(wrap)
}

/// Reads a text file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("reading", path, e)),
    }
}

/// Removes a file, a link or a whole directory; nothing there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let result = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e)
            if !matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Err(Error::file("removing", path, e))
        }
        _ => Ok(()),
    }
}

/// Writes what jobs can read about their instance.
pub(crate) fn write_instance_files(dir: &Path, files: &InstanceFiles<'_>) -> Result<(), Error> {
    mkdir(dir, 0o755)?;
    for (name, content) in [
        ("id", files.id),
        ("az", files.az),
        ("name", files.name),
        ("deployment", files.deployment),
    ] {
        write(&dir.join(name), content.as_bytes(), 0o644)?;
    }
    chmod(dir, 0o755)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(
            path.metadata().unwrap().permissions().mode() & 0o7777,
            0o640
        );
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        assert!(write(&dir.path().join("a/b/c"), b"", 0o600).is_err());
    }

    #[test]
    fn a_link_replaces_links_files_and_empty_directories_only() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("x/link");
        for target in ["/one", "/two"] {
            symlink(Path::new(target), &link).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        symlink(Path::new("/three"), &empty).unwrap();
        assert_eq!(fs::read_link(&empty).unwrap(), Path::new("/three"));
        let full = dir.path().join("full");
        fs::create_dir_all(full.join("file")).unwrap();
        assert!(symlink(Path::new("/four"), &full).is_err());
        assert!(full.join("file").exists());
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("nothing/at/all")).unwrap();
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("kept")).unwrap();
        symlink(&dir.path().join("kept"), &link).unwrap();
        remove(&link).unwrap();
        assert!(
            dir.path().join("kept").exists(),
            "the link goes, not what it points to"
        );
    }
}
