//! The tree as a tar: sorted, numeric owners, times cut off at the epoch, links as links. Device nodes and sockets are
//! left out: whoever runs the image brings its own /dev.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::gzip::Cut;

/// Writes the tree at `root`.
pub(super) fn write(root: &Path, epoch: u64, out: &mut impl Cut) -> io::Result<()> {
    let mut image = Image {
        root,
        epoch,
        tar: Builder::new(out),
        names: HashMap::new(),
    };
    image.directory(Path::new(""), &fs::symlink_metadata(root)?)?;
    image.tar.finish()
}

/// A file from this size on begins a block of its own.
const LARGE: u64 = 1 << 20;

struct Image<'a, W: Cut> {
    root: &'a Path,
    epoch: u64,
    tar: Builder<W>,
    /// Files with more than one name, by device and inode: the name they were written with.
    names: HashMap<(u64, u64), PathBuf>,
}

impl<W: Cut> Image<'_, W> {
    /// The directory and all that is in it.
    fn directory(&mut self, inside: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = self.header(EntryType::Directory, metadata);
        if inside.as_os_str().is_empty() {
            // The root itself, which the builder has no way to name.
            header.as_old_mut().name[..2].copy_from_slice(b"./");
            header.set_cksum();
            self.tar.append(&header, io::empty())?;
        } else {
            let name = inside.join("");
            self.tar.append_data(&mut header, &name, io::empty())?;
        }
        let mut entries = fs::read_dir(self.root.join(inside))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = inside.join(entry.file_name());
            let metadata = fs::symlink_metadata(entry.path())?;
            let kind = metadata.file_type();
            if kind.is_dir() {
                self.directory(&path, &metadata)?;
            } else if kind.is_symlink() {
                let mut header = self.header(EntryType::Symlink, &metadata);
                self.tar
                    .append_link(&mut header, &path, fs::read_link(entry.path())?)?;
            } else if kind.is_file() {
                self.file(&path, &metadata)?;
            } else if kind.is_fifo() {
                let mut header = self.header(EntryType::Fifo, &metadata);
                self.tar.append_data(&mut header, &path, io::empty())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        if metadata.nlink() > 1 {
            let identity = (metadata.dev(), metadata.ino());
            if let Some(first) = self.names.get(&identity) {
                let mut header = self.header(EntryType::Link, metadata);
                return self.tar.append_link(&mut header, path, first);
            }
            self.names.insert(identity, path.to_owned());
        }
        // Where blocks end follows from this file alone, so that a change elsewhere does not move the ends.
        if metadata.len() >= LARGE || is_landmark(path) {
            self.tar.get_mut().cut()?;
        }
        let mut header = self.header(EntryType::Regular, metadata);
        header.set_size(metadata.len());
        let file = File::open(self.root.join(path))?;
        self.tar.append_data(&mut header, path, file)
    }

    fn header(&self, kind: EntryType, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(u64::from(metadata.uid()));
        header.set_gid(u64::from(metadata.gid()));
        header.set_size(0);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0).min(self.epoch));
        header
    }
}

/// About one name in eight.
fn is_landmark(path: &Path) -> bool {
    let sum = path.as_os_str().as_bytes().iter().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
    });
    sum.is_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    impl Cut for Vec<u8> {
        fn cut(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn everything_that_belongs_in_is_in() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let long = "d".repeat(120);
        fs::create_dir_all(root.join("b").join(&long)).unwrap();
        fs::write(root.join("b").join(&long).join("deep"), "deep").unwrap();
        fs::write(root.join("a"), "content").unwrap();
        fs::hard_link(root.join("a"), root.join("z")).unwrap();
        symlink("/some/where/else", root.join("link")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

        let mut bytes = Vec::new();
        write(root, 1000, &mut bytes).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!(
                entry.header().mtime().unwrap(),
                1000,
                "now is later than the epoch"
            );
            let link = entry
                .link_name()
                .unwrap()
                .map(|link| link.display().to_string());
            seen.push((
                entry.path().unwrap().into_owned(),
                entry.header().entry_type(),
                link,
            ));
        }
        let names: Vec<_> = seen.iter().map(|(path, _, _)| path.clone()).collect();
        assert_eq!(names[0].as_os_str(), "./");
        let rest: Vec<_> = names[1..]
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let deep = format!("b/{long}");
        assert_eq!(
            rest,
            [
                "a",
                "b/",
                &format!("{deep}/"),
                &format!("{deep}/deep"),
                "link",
                "pipe",
                "z"
            ]
        );
        assert_eq!(seen[5].2.as_deref(), Some("/some/where/else"));
        assert_eq!(
            (seen[7].1, seen[7].2.as_deref()),
            (EntryType::Link, Some("a"))
        );
    }
}
