//! A blob on its way: a stream of chunks, its size if known, and the digest check at its end.

use crate::Error;
use bosh_protocol::MultiDigest;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::{fmt, io, path::Path, pin::Pin};
use tokio::io::{AsyncRead, AsyncWriteExt, BufWriter};
use tokio_util::io::{ReaderStream, StreamReader};

/// Chunks of a blob. The last item may be an error: a broken transfer or a wrong digest.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// A blob that is being read. Memory use is one chunk, whatever its size.
pub struct Blob {
    id: String,
    size: Option<u64>,
    chunks: Chunks,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("id", &self.id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Blob {
    /// A blob of these chunks.
    pub fn new(id: impl Into<String>, size: Option<u64>, chunks: Chunks) -> Self {
        Self {
            id: id.into(),
            size,
            chunks,
        }
    }

    pub(crate) fn from_reader(
        id: &str,
        size: Option<u64>,
        reader: impl AsyncRead + Send + 'static,
    ) -> Self {
        let name = id.to_owned();
        let chunks = ReaderStream::with_capacity(reader, 256 * 1024)
            .map_err(move |e| Error::io("getting", &name, e));
        Self::new(id, size, Box::pin(chunks))
    }

    /// The blob that this file is.
    pub async fn from_file(id: &str, file: tokio::fs::File) -> Result<Self, Error> {
        let meta = file
            .metadata()
            .await
            .map_err(|e| Error::io("getting", id, e))?;
        Ok(Self::from_reader(id, Some(meta.len()), file))
    }

    /// Its id, or `signed URL`: for messages.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its size in bytes, if the store told.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The same blob, whose stream ends with [`Error::Digest`] unless its bytes match the strongest of these
    /// digests. What has been read before that must not be used.
    pub fn verified(self, expected: &MultiDigest) -> Self {
        let wrap = |id: String, source| Error::Digest { id, source };
        let verifier = match expected.verifier() {
            Ok(verifier) => verifier,
            Err(source) => {
                let error = wrap(self.id.clone(), source);
                return Self {
                    chunks: Box::pin(stream::once(async { Err(error) })),
                    ..self
                };
            }
        };
        let state = Some((self.chunks, verifier, self.id.clone()));
        let chunks = stream::unfold(state, move |state| async move {
            let (mut chunks, mut verifier, id) = state?;
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    verifier.update(&chunk);
                    Some((Ok(chunk), Some((chunks, verifier, id))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => verifier
                    .finish()
                    .err()
                    .map(|source| (Err(wrap(id, source)), None)),
            }
        });
        Self {
            id: self.id,
            size: self.size,
            chunks: Box::pin(chunks),
        }
    }

    /// The next chunk; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.chunks.next().await.transpose()
    }

    /// The chunks.
    pub fn into_chunks(self) -> Chunks {
        self.chunks
    }

    /// The blob as a reader; [`Error::from_io`] gets our error back out of the reader's.
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin {
        StreamReader::new(self.chunks.map_err(Error::into_io))
    }

    /// All of it in memory, refusing more than `limit` bytes.
    pub async fn into_bytes(mut self, limit: u64) -> Result<Bytes, Error> {
        let too_large = |id: &str| Error::TooLarge {
            id: id.to_owned(),
            limit,
        };
        if self.size.is_some_and(|size| size > limit) {
            return Err(too_large(&self.id));
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() as u64 + chunk.len() as u64 > limit {
                return Err(too_large(&self.id));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Writes it into `path`, making or emptying that file, and returns its size. On an error the file is removed.
    pub async fn into_file(mut self, path: &Path) -> Result<u64, Error> {
        let result = self.copy_to(path).await;
        if result.is_err()
            && let Err(error) = tokio::fs::remove_file(path).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove a half-fetched blob");
        }
        result
    }

    async fn copy_to(&mut self, path: &Path) -> Result<u64, Error> {
        let wrap = |id: &str, e| Error::io("writing", id, e);
        let file = tokio::fs::File::create(path)
            .await
            .map_err(|e| wrap(&self.id, e))?;
        let mut file = BufWriter::with_capacity(256 * 1024, file);
        let mut size = 0;
        while let Some(chunk) = self.chunk().await? {
            file.write_all(&chunk)
                .await
                .map_err(|e| wrap(&self.id, e))?;
            size += chunk.len() as u64;
        }
        file.flush().await.map_err(|e| wrap(&self.id, e))?;
        Ok(size)
    }
}

/// What is to be stored.
pub enum Content {
    /// A file. May be sent again if the transfer breaks.
    File(std::path::PathBuf),
    /// Bytes in memory. May be sent again if the transfer breaks.
    Bytes(Bytes),
    /// A stream, of which there is only one go.
    Chunks {
        /// The bytes.
        chunks: Chunks,
        /// How many there are, if known.
        size: Option<u64>,
    },
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Chunks { size, .. } => write!(f, "Chunks({size:?} bytes)"),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<Blob> for Content {
    fn from(blob: Blob) -> Self {
        Self::Chunks {
            size: blob.size,
            chunks: blob.chunks,
        }
    }
}

impl Content {
    /// Opens it: its chunks and their total size. Leaves behind what a second try needs, which for a stream is nothing.
    pub(crate) async fn open(&mut self, id: &str) -> Result<(Chunks, Option<u64>), Error> {
        match self {
            Self::File(path) => {
                let wrap = |e| Error::io("reading", id, e);
                let file = tokio::fs::File::open(&path).await.map_err(wrap)?;
                let size = file.metadata().await.map_err(wrap)?.len();
                Ok((Blob::from_reader(id, None, file).into_chunks(), Some(size)))
            }
            Self::Bytes(bytes) => {
                let chunk = bytes.clone();
                Ok((
                    Box::pin(stream::once(async { Ok(chunk) })),
                    Some(bytes.len() as u64),
                ))
            }
            Self::Chunks { chunks, size } => {
                let empty: Chunks = Box::pin(stream::empty());
                Ok((std::mem::replace(chunks, empty), *size))
            }
        }
    }

    pub(crate) fn can_retry(&self) -> bool {
        !matches!(self, Self::Chunks { .. })
    }
}
