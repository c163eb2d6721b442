//! Unpacking what strangers packed.
//!
//! An uploaded archive is a tar, as a rule gzipped, of plain files and
//! directories. Anything else in it (a path that leads out, a link, a device)
//! refuses the whole of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::config::Limits;

/// Largest text file that is read into memory: release.MF, job.MF.
const TEXT: u64 = 64 * 1024 * 1024;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not a tar, cut short, or unreadable.
    #[error("the archive cannot be read: {0}")]
    Read(#[source] io::Error),
    /// A path that leads out of the archive.
    #[error("the path '{0}' leads out of the archive")]
    Path(String),
    /// A link, device or the like where only files belong.
    #[error("'{0}' is neither a file nor a directory")]
    Kind(String),
    /// The same file twice.
    #[error("'{0}' is in the archive twice")]
    Twice(String),
    /// Unpacks to far more than an honest archive would.
    #[error("the archive unpacks to more than {0} bytes")]
    Large(u64),
    /// A disk that is full, and the like.
    #[error("write '{path}': {source}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The files of an unpacked archive by their paths in it.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    files: HashMap<String, PathBuf>,
}

impl Unpacked {
    /// Where a file was unpacked to.
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }
}

/// What a small archive holds: the paths of its files, and the text of one.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// All files, with plain paths such as `templates/ctl.erb`.
    pub(crate) files: Vec<String>,
    /// The file that was asked for.
    pub(crate) text: Option<Vec<u8>>,
}

/// Unpacks the files whose paths `wanted` accepts into `directory`, flat, under
/// names of our own. The others are checked and left out.
pub(crate) fn unpack(
    archive: &Path,
    directory: &Path,
    limits: &Limits,
    wanted: impl Fn(&str) -> bool,
) -> Result<Unpacked, Error> {
    let mut unpacked = Unpacked::default();
    each(archive, false, limits, |name, entry| {
        if !wanted(name) {
            return Ok(());
        }
        let target = directory.join(format!("{:06}", unpacked.files.len()));
        let write = |source| Error::Write {
            path: name.to_owned(),
            source,
        };
        let mut file = File::create_new(&target).map_err(write)?;
        copy(entry, &mut file, name)?;
        if unpacked.files.insert(name.to_owned(), target).is_some() {
            return Err(Error::Twice(name.to_owned()));
        }
        Ok(())
    })?;
    Ok(unpacked)
}

/// Reads through a packed job: the paths of its files, and the text of `file`.
pub(crate) fn list(archive: &Path, file: &str) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    each(archive, false, &Limits::default(), |name, entry| {
        if name == file {
            let mut text = Vec::new();
            entry
                .take(TEXT)
                .read_to_end(&mut text)
                .map_err(Error::Read)?;
            listing.text = Some(text);
        }
        listing.files.push(name.to_owned());
        Ok(())
    })?;
    Ok(listing)
}

/// Reads through a package to its end. Links belong in packages; paths must
/// stay inside all the same.
pub(crate) fn check(archive: &Path) -> Result<(), Error> {
    each(archive, true, &Limits::default(), |_, _| Ok(()))
}

/// The text of a file that was unpacked.
pub(crate) fn read_text(path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(Error::Read)?;
    file.take(TEXT)
        .read_to_end(&mut text)
        .map_err(Error::Read)?;
    Ok(text)
}

/// Calls `visit` with every file: its plain path and its content.
fn each(
    archive: &Path,
    links: bool,
    limits: &Limits,
    mut visit: impl FnMut(&str, &mut dyn Read) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = File::open(archive).map_err(Error::Read)?;
    let packed = file.metadata().map_err(Error::Read)?.len();
    let limit = limits
        .archive_free
        .saturating_add(packed.saturating_mul(limits.archive_ratio));
    let reader = Limited {
        reader: open(file).map_err(Error::Read)?,
        left: limit,
    };
    let mut tar = tar::Archive::new(reader);
    let mut count = 0;
    for entry in tar.entries().map_err(Error::Read)? {
        let mut entry = entry.map_err(|error| large(error, limit))?;
        count += 1;
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if count > limits.archive_entries {
            return Err(Error::Large(limit));
        }
        let name = plain(&raw).ok_or_else(|| Error::Path(raw.clone()))?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if kind.is_symlink() || kind.is_hard_link() {
            if links {
                continue;
            }
            return Err(Error::Kind(raw));
        }
        if !kind.is_file() && !kind.is_contiguous() && !kind.is_gnu_sparse() {
            return Err(Error::Kind(raw));
        }
        visit(&name, &mut entry).map_err(|error| match error {
            Error::Read(error) => large(error, limit),
            other => other,
        })?;
    }
    // What follows the end mark must be readable too: a cut file has lost it.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|error| large(error, limit))?;
    Ok(())
}

fn copy(entry: &mut dyn Read, file: &mut File, name: &str) -> Result<(), Error> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = entry.read(&mut buffer).map_err(Error::Read)?;
        if read == 0 {
            return Ok(());
        }
        let write = |source| Error::Write {
            path: name.to_owned(),
            source,
        };
        io::Write::write_all(file, &buffer[..read]).map_err(write)?;
    }
}

/// The path without `./`, if it stays inside.
fn plain(raw: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(raw).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

/// A gzipped file unpacked, or a plain one as it is.
fn open(file: File) -> io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(128 * 1024, file);
    let magic = io::BufRead::fill_buf(&mut reader)?;
    Ok(if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(reader))
    } else {
        Box::new(reader)
    })
}

/// Fails once more has come out than an honest archive would give.
struct Limited {
    reader: Box<dyn Read>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(read)
    }
}

fn large(error: io::Error, limit: u64) -> Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Error::Large(limit),
        _ => Error::Read(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        let name = header.as_gnu_mut().unwrap();
        name.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> (tempfile::TempDir, PathBuf) {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, data) in entries {
            entry(&mut builder, path, *kind, data);
        }
        let tar = builder.into_inner().unwrap();
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&tar).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tgz");
        std::fs::write(&path, gz.finish().unwrap()).unwrap();
        (directory, path)
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn plain_archives_unpack() {
        let (directory, path) = archive(&[
            ("./", tar::EntryType::Directory, b""),
            ("./release.MF", FILE, b"name: a"),
            ("jobs/x.tgz", FILE, b"job"),
            ("other", FILE, b"left out"),
        ]);
        let unpacked = unpack(&path, directory.path(), &Limits::default(), |name| {
            name != "other"
        })
        .unwrap();
        assert_eq!(
            std::fs::read(unpacked.path("release.MF").unwrap()).unwrap(),
            b"name: a"
        );
        assert_eq!(
            std::fs::read(unpacked.path("jobs/x.tgz").unwrap()).unwrap(),
            b"job"
        );
        assert!(unpacked.path("other").is_none());
    }

    #[test]
    fn hostile_archives_are_refused() {
        for (name, kind, expected) in [
            (
                "../evil",
                FILE,
                "the path '../evil' leads out of the archive",
            ),
            (
                "a/../../evil",
                FILE,
                "the path 'a/../../evil' leads out of the archive",
            ),
            (
                "/etc/evil",
                FILE,
                "the path '/etc/evil' leads out of the archive",
            ),
            (
                "link",
                tar::EntryType::Symlink,
                "'link' is neither a file nor a directory",
            ),
            (
                "hard",
                tar::EntryType::Link,
                "'hard' is neither a file nor a directory",
            ),
            (
                "dev",
                tar::EntryType::Char,
                "'dev' is neither a file nor a directory",
            ),
            (
                "fifo",
                tar::EntryType::Fifo,
                "'fifo' is neither a file nor a directory",
            ),
        ] {
            let (directory, path) = archive(&[(name, kind, b"")]);
            // Also when the file itself is not wanted.
            let error = unpack(&path, directory.path(), &Limits::default(), |_| false).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let (directory, path) = archive(&[("a", FILE, b"1"), ("./a", FILE, b"2")]);
        let error = unpack(&path, directory.path(), &Limits::default(), |_| true).unwrap_err();
        assert_eq!(error.to_string(), "'a' is in the archive twice");
    }

    #[test]
    fn cut_archives_are_refused() {
        let data = vec![7; 100_000];
        let (directory, path) = archive(&[("a", FILE, &data), ("b", FILE, &data)]);
        let whole = std::fs::read(&path).unwrap();
        for keep in [whole.len() - 4, whole.len() / 2, 10] {
            std::fs::write(&path, &whole[..keep]).unwrap();
            let inside = directory.path().join(keep.to_string());
            std::fs::create_dir(&inside).unwrap();
            assert!(
                matches!(
                    unpack(&path, &inside, &Limits::default(), |_| true),
                    Err(Error::Read(_))
                ),
                "{keep}"
            );
        }
    }

    #[test]
    fn packages_may_have_links_but_not_lead_out() {
        let (_directory, path) = archive(&[("l", tar::EntryType::Symlink, b"")]);
        check(&path).unwrap();
        let (_directory, path) = archive(&[("../l", tar::EntryType::Symlink, b"")]);
        assert!(matches!(check(&path), Err(Error::Path(_))));
    }
}
