//! Compressed blocks of the last image, kept beside the layer: most of the next image is the same.
//!
//! A block's name is the digest of what it was compressed from. Nothing here is ever needed: what is damaged or cannot be
//! written is compressed again.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha1::{Digest, Sha1};

/// Length of a SHA-1.
const DIGEST: usize = 20;

pub(super) struct Blocks {
    dir: PathBuf,
    used: Mutex<HashSet<String>>,
}

impl Blocks {
    /// In a directory that is made if it is not there.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            used: Mutex::default(),
        })
    }

    /// The block made from `content`, as kept or as `compress` makes it.
    pub(super) fn get(
        &self,
        content: &[u8],
        compress: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        let name = hex(&Sha1::digest(content));
        let path = self.dir.join(&name);
        let kept = fs::read(&path).ok().and_then(checked);
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
        if let Some(block) = kept {
            return Ok(block);
        }
        let block = compress()?;
        if let Err(error) = keep(&path, &block) {
            tracing::debug!(path = %path.display(), %error, "could not keep a block");
        }
        Ok(block)
    }

    /// Removes what the image just written did not use.
    pub(super) fn forget_others(&self) -> io::Result<()> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if !used.contains(entry.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The block, if it is followed by its own digest.
fn checked(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let length = file.len().checked_sub(DIGEST)?;
    let whole = Sha1::digest(&file[..length])[..] == file[length..];
    file.truncate(length);
    whole.then_some(file)
}

fn keep(path: &Path, block: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, [block, &Sha1::digest(block)].concat())?;
    fs::rename(temporary, path)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_not_made_again_unless_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path()).unwrap();
        let fresh = || Ok(b"packed".to_vec());
        let never = || panic!("it is kept");
        assert_eq!(blocks.get(b"content", fresh).unwrap(), b"packed");
        assert_eq!(blocks.get(b"content", never).unwrap(), b"packed");
        let path = fs::read_dir(dir.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        fs::write(&path, b"").unwrap();
        assert_eq!(blocks.get(b"content", fresh).unwrap(), b"packed");
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(blocks.get(b"content", fresh).unwrap(), b"packed");
    }

    #[test]
    fn only_what_was_used_stays() {
        let dir = tempfile::tempdir().unwrap();
        let blocks = Blocks::open(dir.path()).unwrap();
        blocks.get(b"old", || Ok(vec![1])).unwrap();
        let blocks = Blocks::open(dir.path()).unwrap();
        blocks.get(b"new", || Ok(vec![2])).unwrap();
        blocks.forget_others().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(blocks.get(b"new", || Ok(vec![3])).unwrap(), [2]);
    }
}
