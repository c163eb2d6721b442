//! Blobs as files.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use bosh_blobstore::id;
use futures_util::StreamExt;
use tokio::fs;
use tokio::io::AsyncWriteExt;

/// Why a body could not be stored.
#[derive(Debug)]
pub(super) enum PutError {
    /// The client stopped sending.
    Body(axum::Error),
    /// It sent more than is allowed.
    TooLarge,
    /// The disk refused.
    Io(io::Error),
}

/// The directory of blobs.
#[derive(Clone, Debug)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where an object such as `a9/abc` lies; `None` for what is no object's name.
    pub(super) fn path(&self, object: &str) -> Option<PathBuf> {
        let (prefix, rest) = object.split_once('/')?;
        let hex = prefix.len() == 2 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hidden = rest.rsplit('/').next()?.starts_with('.');
        (hex && !hidden && id::check(rest).is_ok()).then(|| self.root.join(prefix).join(rest))
    }

    /// Stores a body; answers whether there was a blob of that name before, which is replaced.
    pub(super) async fn put(&self, path: &Path, body: Body, limit: u64) -> Result<bool, PutError> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).await.map_err(PutError::Io)?;
        let partial = folder.join(format!(".{}.partial", id::generate()));
        let guard = RemoveOnDrop(Some(partial.clone()));
        write(&partial, body, limit).await?;
        let existed = fs::try_exists(path).await.map_err(PutError::Io)?;
        fs::rename(&partial, path).await.map_err(PutError::Io)?;
        guard.keep();
        sync_folder(folder).await.map_err(PutError::Io)?;
        Ok(existed)
    }
}

async fn write(partial: &Path, body: Body, limit: u64) -> Result<(), PutError> {
    let mut file = fs::File::create(partial).await.map_err(PutError::Io)?;
    file.set_max_buf_size(1024 * 1024);
    let mut chunks = body.into_data_stream();
    let mut size = 0u64;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(PutError::Body)?;
        size += chunk.len() as u64;
        if size > limit {
            return Err(PutError::TooLarge);
        }
        file.write_all(&chunk).await.map_err(PutError::Io)?;
    }
    file.flush().await.map_err(PutError::Io)?;
    file.sync_all().await.map_err(PutError::Io)
}

async fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder).await?.sync_all().await
}

/// Removes a half-written file, also when the client goes away and the request is dropped.
struct RemoveOnDrop(Option<PathBuf>);

impl RemoveOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %path.display(), %error, "remove a partial blob");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_stay_within_the_directory() {
        let files = Files::new("/blobs".into());
        assert_eq!(files.path("a9/abc"), Some("/blobs/a9/abc".into()));
        assert_eq!(files.path("A9/f/abc"), Some("/blobs/A9/f/abc".into()));
        for bad in [
            "abc",
            "a9/",
            "a9/../../etc/passwd",
            "a9//x",
            "zz/abc",
            "a9/.x.partial",
            "../abc",
            "a9/a\0b",
        ] {
            assert_eq!(files.path(bad), None, "{bad:?}");
        }
    }
}
