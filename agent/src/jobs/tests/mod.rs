//! Jobs and packages against a real filesystem, a real blobstore directory and a real HTTP server.

mod apply;
mod compile;
mod hostile;
mod transfer;

use super::*;
use crate::platform::Dirs;
use bosh_blobstore::{Store, digests};
use bosh_protocol::{BlobId, MultiDigest};
use std::{io::Write, path::Path};
use tar::{Builder, EntryType, Header};

/// A tarball in the making, with entries that `tar` itself would not write.
pub(crate) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn entry(mut self, name: &str, kind: EntryType, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o640 });
        header.set_size(data.len() as u64);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.entry(name, EntryType::Regular, "", data.as_bytes())
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.entry(name, EntryType::Directory, "", b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, target, b"")
    }

    pub(crate) fn plain(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    pub(crate) fn gzip(self) -> Vec<u8> {
        gzip(&self.plain())
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn sha1(bytes: &[u8]) -> MultiDigest {
    let mut hashers = digests::Hashers::new(digests::SHA1);
    hashers.update(bytes);
    hashers.finish()
}

/// A machine in a directory, with a blobstore beside it.
pub(crate) struct Machine {
    pub(crate) root: tempfile::TempDir,
    pub(crate) dirs: Dirs,
    pub(crate) blobs: Blobs,
}

impl Machine {
    pub(crate) fn new() -> Self {
        // Nothing happens if another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path().join("machine"));
        std::fs::create_dir_all(dirs.base()).unwrap();
        let options = serde_json::json!({"blobstore_path": root.path().join("blobs")});
        let blobs = Blobs::new(Store::open("local", &options).unwrap(), &dirs);
        Self { root, dirs, blobs }
    }

    pub(crate) async fn store(&self, bytes: &[u8]) -> Source {
        let stored = self
            .blobs
            .store()
            .put(bytes.to_vec(), digests::SHA1)
            .await
            .unwrap();
        Source::blob(stored.id, stored.digest)
    }

    /// Replaces a stored blob behind the store's back.
    pub(crate) fn spoil(&self, id: &BlobId, bytes: &[u8]) {
        std::fs::write(self.root.path().join("blobs").join(id.as_str()), bytes).unwrap();
    }
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Everything below a directory, by relative name, links with their targets.
pub(crate) fn tree(dir: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_symlink() {
                found.push(format!("{name} -> {}", path.read_link().unwrap().display()));
            } else if path.is_dir() {
                found.push(format!("{name}/"));
                walk(root, &path, found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}
