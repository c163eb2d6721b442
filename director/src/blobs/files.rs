//! Blobs as files.

use std::io;
use std::path::{Path, PathBuf};

use axum::body::Body;
use bosh_blobstore::id;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::fs;
use tokio::io::AsyncWriteExt;

/// Why a body could not be stored.
#[derive(Debug)]
pub(super) enum PutError {
    /// The client stopped sending.
    Body(String),
    /// It sent more than is allowed.
    TooLarge,
    /// The disk refused.
    Io(io::Error),
}

impl PutError {
    pub(super) fn body(error: impl std::fmt::Display) -> Self {
        Self::Body(error.to_string())
    }
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

    /// Where the blob with that id lies; `None` for what is no id.
    pub(super) fn path_of(&self, blob: &str) -> Option<PathBuf> {
        self.path(&id::dav_path(blob))
    }

    /// Stores a body; answers whether there was a blob of that name before, which is replaced.
    pub(super) async fn put(&self, path: &Path, body: Body, limit: u64) -> Result<bool, PutError> {
        let chunks = body.into_data_stream().map_err(PutError::body);
        self.write(path, chunks, limit, true).await
    }

    /// Stores chunks under a name that is not taken.
    pub(super) async fn create(
        &self,
        path: &Path,
        chunks: impl Stream<Item = Result<Bytes, PutError>>,
        limit: u64,
    ) -> Result<(), PutError> {
        self.write(path, chunks, limit, false).await.map(drop)
    }

    async fn write(
        &self,
        path: &Path,
        chunks: impl Stream<Item = Result<Bytes, PutError>>,
        limit: u64,
        replace: bool,
    ) -> Result<bool, PutError> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).await.map_err(PutError::Io)?;
        let partial = folder.join(format!(".{}.partial", id::generate()));
        let guard = RemoveOnDrop(Some(partial.clone()));
        write(&partial, chunks, limit).await?;
        let existed = fs::try_exists(path).await.map_err(PutError::Io)?;
        // One step, without a task of its own: whoever gives up finds the blob there or not, and not there a moment later.
        if replace {
            std::fs::rename(&partial, path).map_err(PutError::Io)?;
            guard.keep();
        } else {
            std::fs::hard_link(&partial, path).map_err(PutError::Io)?;
            drop(guard);
        }
        sync_folder(folder).await.map_err(PutError::Io)?;
        Ok(existed)
    }
}

async fn write(
    partial: &Path,
    chunks: impl Stream<Item = Result<Bytes, PutError>>,
    limit: u64,
) -> Result<(), PutError> {
    let mut file = fs::File::create(partial).await.map_err(PutError::Io)?;
    file.set_max_buf_size(1024 * 1024);
    let mut chunks = std::pin::pin!(chunks);
    let mut size = 0u64;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
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
