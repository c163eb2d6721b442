//! A directory of blobs.
//!
//! Flat, one file per blob, as upstream's `local` provider; or in the layout of a DAV blobstore, for the director that
//! serves its own blobs and need not talk HTTP to itself. A blob appears under its name only when all of it is on disk.

use crate::{Blob, Content, Error, Listed, digests::Hashers, http::Sent, id};
use bosh_protocol::{BlobId, digest::Algorithm};
use futures_util::StreamExt;
use std::{
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use tokio::io::AsyncWriteExt;

#[derive(Debug)]
pub(crate) struct Local {
    root: PathBuf,
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Flat,
    Dav,
}

impl Local {
    pub(crate) fn new(root: PathBuf, layout: Layout) -> Self {
        Self { root, layout }
    }

    fn path(&self, id: &str) -> Result<PathBuf, Error> {
        id::check(id)?;
        match self.layout {
            Layout::Flat if id.contains('/') || id.starts_with('.') => {
                Err(Error::InvalidId(id.to_owned()))
            }
            Layout::Flat => Ok(self.root.join(id)),
            Layout::Dav => Ok(self.root.join(id::dav_path(id))),
        }
    }

    pub(crate) async fn open_blob(&self, id: &str) -> Result<Blob, Error> {
        let file = match tokio::fs::File::open(self.path(id)?).await {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound(id.to_owned()));
            }
            Err(e) => return Err(Error::io("getting", id, e)),
        };
        let meta = file
            .metadata()
            .await
            .map_err(|e| Error::io("getting", id, e))?;
        if !meta.is_file() {
            return Err(Error::NotFound(id.to_owned()));
        }
        Ok(Blob::from_reader(id, Some(meta.len()), file))
    }

    pub(crate) async fn put(
        &self,
        id: &str,
        mut content: Content,
        algorithms: &[Algorithm],
    ) -> Result<Sent, Error> {
        let wrap = |e| Error::io("putting", id, e);
        let path = self.path(id)?;
        let dir = path
            .parent()
            .expect("a blob's path has the store's root before it");
        tokio::fs::create_dir_all(dir).await.map_err(wrap)?;
        let partial = Partial(dir.join(format!(".{}.partial", id::generate())));
        let sent = self.write(&partial.0, id, &mut content, algorithms).await?;
        // A link, not a rename, refuses to replace what is there. No task of its own: a caller who gives up finds the blob
        // either there or not, and not there a moment later.
        match std::fs::hard_link(&partial.0, &path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::AlreadyExists(id.to_owned()));
            }
            Err(e) => return Err(wrap(e)),
        }
        drop(partial);
        sync_dir(dir).await.map_err(wrap)?;
        Ok(sent)
    }

    async fn write(
        &self,
        to: &Path,
        id: &str,
        content: &mut Content,
        algorithms: &[Algorithm],
    ) -> Result<Sent, Error> {
        let wrap = |e| Error::io("putting", id, e);
        let (mut chunks, _) = content.open(id).await?;
        let mut hasher = Hashers::new(algorithms);
        let mut size = 0;
        let mut file = tokio::fs::File::create(to).await.map_err(wrap)?;
        file.set_max_buf_size(256 * 1024);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            hasher.update(&chunk);
            size += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(wrap)?;
        }
        file.flush().await.map_err(wrap)?;
        file.sync_all().await.map_err(wrap)?;
        Ok(Sent {
            digest: hasher.finish(),
            size,
        })
    }

    /// The files that are blobs, whatever else lies around.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, Error> {
        let layout = self.layout;
        let files = self.files().await?;
        let blobs = files.into_iter().filter_map(|(name, stored)| {
            let id = match layout {
                Layout::Flat => name.as_str(),
                Layout::Dav => name.split_once('/')?.1,
            };
            let is_blob = match layout {
                Layout::Flat => !id.contains('/') && !id.starts_with('.'),
                Layout::Dav => id::dav_path(id) == name && !is_partial(id),
            };
            is_blob.then(|| Listed {
                id: BlobId::from(id),
                stored,
            })
        });
        Ok(blobs.collect())
    }

    pub(crate) async fn remove_abandoned(&self, before: SystemTime) -> Result<usize, Error> {
        let mut removed = 0;
        for (name, stored) in self.files().await? {
            if is_partial(&name) && stored < before {
                let file = self.root.join(&name);
                let gone = tokio::fs::remove_file(&file).await;
                gone.map_err(|e| Error::io("removing what is left of", &name, e))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// All files below the root: path and time.
    async fn files(&self) -> Result<Vec<(String, SystemTime)>, Error> {
        let root = self.root.clone();
        let walk = move || {
            let mut files = Vec::new();
            let mut folders = vec![(root, String::new())];
            while let Some((folder, prefix)) = folders.pop() {
                let entries = match std::fs::read_dir(&folder) {
                    // Before the first blob.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    other => other?,
                };
                for entry in entries {
                    let entry = entry?;
                    let Ok(name) = entry.file_name().into_string() else {
                        continue;
                    };
                    let path = format!("{prefix}{name}");
                    let kind = entry.file_type()?;
                    if kind.is_dir() {
                        folders.push((entry.path(), format!("{path}/")));
                    } else if kind.is_file() {
                        // It may just have been deleted.
                        if let Ok(time) = entry.metadata().and_then(|meta| meta.modified()) {
                            files.push((path, time));
                        }
                    }
                }
            }
            Ok(files)
        };
        let walked = tokio::task::spawn_blocking(walk).await;
        let walked = walked.unwrap_or_else(|e| Err(io::Error::other(e)));
        walked.map_err(|e| Error::io("listing", "*", e))
    }

    pub(crate) async fn exists(&self, id: &str) -> Result<bool, Error> {
        match tokio::fs::metadata(self.path(id)?).await {
            Ok(meta) => Ok(meta.is_file()),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(Error::io("looking for", id, e)),
        }
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        match tokio::fs::remove_file(self.path(id)?).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("deleting", id, e)),
            _ => Ok(()),
        }
    }
}

/// A half-written blob, which goes when this does: at the end, after a failure, and when the caller gives up.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a partial blob");
        }
    }
}

/// Whether this is the name of a blob that is being written, here or by the embedded server.
fn is_partial(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.starts_with('.') && name.ends_with(".partial")
}

async fn sync_dir(dir: &Path) -> io::Result<()> {
    tokio::fs::File::open(dir).await?.sync_all().await
}
