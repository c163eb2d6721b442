//! Where blobs come from and go to: the machine itself, the blobstore by id, or a URL the director has signed.
//!
//! Upstream: agent/httpblobprovider/blobstore_delegator, agent/blobstore/{cascading_blobstore,blob_manager}.go.

use super::Error;
use crate::platform::{Dirs, files};
use bosh_blobstore::{Blob, Store, digests};
use bosh_protocol::{BlobId, MultiDigest};
use bytes::Bytes;
use std::{collections::BTreeMap, fmt, io, path::Path, path::PathBuf};

/// A blob that is to be fetched, and what it must be.
#[derive(Clone, PartialEq)]
pub struct Source {
    /// What its bytes must match.
    pub digest: MultiDigest,
    /// Its id; may be empty if there is a URL.
    pub id: BlobId,
    /// The URL the director signed; empty if there is none.
    pub signed_url: String,
    /// Headers to send with the URL.
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("digest", &self.digest.to_string())
            .field("id", &self.id.as_str())
            .field("signed", &!self.signed_url.is_empty())
            .finish()
    }
}

impl Source {
    /// A blob of the blobstore.
    pub fn blob(id: BlobId, digest: MultiDigest) -> Self {
        Self {
            digest,
            id,
            signed_url: String::new(),
            headers: BTreeMap::new(),
        }
    }

    /// A blob behind a signed URL.
    pub fn signed(
        url: impl Into<String>,
        headers: BTreeMap<String, String>,
        digest: MultiDigest,
    ) -> Self {
        Self {
            digest,
            id: BlobId::default(),
            signed_url: url.into(),
            headers,
        }
    }
}

/// Where a blob that this machine has made is to go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// The blobstore, under an id of its choosing.
    Store,
    /// A URL the director signed.
    Signed {
        /// The URL.
        url: bosh_protocol::Secret,
        /// Headers to send with it.
        headers: BTreeMap<String, String>,
    },
}

/// The blobs of this machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Store,
    sensitive: PathBuf,
    large: PathBuf,
}

impl Blobs {
    /// Blobs of `store`, preceded by those the director sent through the message bus.
    pub fn new(store: Store, dirs: &Dirs) -> Self {
        Self {
            store,
            sensitive: dirs.sensitive_blobs(),
            large: dirs.blobs(),
        }
    }

    /// The blobstore.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Opens a blob; whoever reads it checks the digest.
    pub async fn open(&self, source: &Source) -> Result<Blob, Error> {
        if !source.signed_url.is_empty() {
            return self
                .store
                .http()
                .get(&source.signed_url, &source.headers)
                .await
                .map_err(Error::Blob);
        }
        if source.id.is_empty() {
            return Err(Error::NoSource);
        }
        for dir in [&self.sensitive, &self.large] {
            if let Some(blob) = open_local(dir, &source.id).await? {
                return Ok(blob);
            }
        }
        self.store
            .open_unverified(source.id.as_str())
            .await
            .map_err(Error::Blob)
    }

    /// Fetches a small blob into memory, its digest checked.
    pub async fn fetch(&self, source: &Source, limit: u64) -> Result<Bytes, Error> {
        self.open(source)
            .await?
            .verified(&source.digest)
            .into_bytes(limit)
            .await
            .map_err(Error::Blob)
    }

    /// Stores a file and returns its id, if the blobstore chose one, and its digests: SHA-1, for a signed URL SHA-512 too.
    pub async fn upload(
        &self,
        path: &Path,
        to: &Destination,
    ) -> Result<(Option<BlobId>, MultiDigest), Error> {
        match to {
            Destination::Store => {
                let stored = self
                    .store
                    .put(path, digests::SHA1)
                    .await
                    .map_err(Error::Blob)?;
                Ok((Some(stored.id), stored.digest))
            }
            Destination::Signed { url, headers } => {
                let mut all = BTreeMap::from([
                    ("Accept".to_owned(), "*/*".to_owned()),
                    ("Expect".to_owned(), "100-continue".to_owned()),
                ]);
                all.extend(headers.clone());
                let digest = self
                    .store
                    .http()
                    .put(url.expose(), &all, path, digests::SHA1_AND_SHA512)
                    .await
                    .map_err(Error::Blob)?;
                Ok((None, digest))
            }
        }
    }

    /// Keeps a blob that came through the message bus: rendered templates, where the blobstore must not see them.
    pub fn keep_sensitive(
        &self,
        id: &BlobId,
        bytes: &[u8],
        digest: &MultiDigest,
    ) -> Result<(), Error> {
        digest.verify(bytes).map_err(|source| {
            Error::Blob(bosh_blobstore::Error::Digest {
                id: id.to_string(),
                source,
            })
        })?;
        files::mkdir(&self.sensitive, 0o750)?;
        Ok(files::write(
            &local_path(&self.sensitive, id)?,
            bytes,
            0o640,
        )?)
    }

    /// Forgets a blob that came through the message bus; one that is not there is no error.
    pub fn forget(&self, id: &BlobId) -> Result<(), Error> {
        if id.is_empty() {
            return Ok(());
        }
        for dir in [&self.sensitive, &self.large] {
            files::remove(&local_path(dir, id)?)?;
        }
        Ok(())
    }
}

fn local_path(dir: &Path, id: &BlobId) -> Result<PathBuf, Error> {
    bosh_blobstore::id::check(id.as_str()).map_err(Error::Blob)?;
    // One directory deep: anything else belongs to a blobstore, not to us.
    Ok(dir.join(id.as_str().replace('/', "%2F")))
}

async fn open_local(dir: &Path, id: &BlobId) -> Result<Option<Blob>, Error> {
    let path = local_path(dir, id)?;
    match tokio::fs::File::open(&path).await {
        Ok(file) => Ok(Some(
            Blob::from_file(id.as_str(), file)
                .await
                .map_err(Error::Blob)?,
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("opening blob", &path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(root: &Path) -> Blobs {
        let options = serde_json::json!({"blobstore_path": root.join("store")});
        Blobs::new(Store::open("local", &options).unwrap(), &Dirs::below(root))
    }

    #[tokio::test]
    async fn a_blob_sent_over_the_bus_comes_before_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let stored = blobs
            .store()
            .put(b"from the store".to_vec(), digests::SHA1)
            .await
            .unwrap();
        let source = Source::blob(stored.id.clone(), stored.digest.clone());
        assert_eq!(blobs.fetch(&source, 100).await.unwrap(), "from the store");

        let mut hasher = digests::Hashers::new(digests::SHA1);
        hasher.update(b"sent");
        let digest = hasher.finish();
        assert!(
            blobs
                .keep_sensitive(&stored.id, b"damaged", &digest)
                .is_err()
        );
        blobs.keep_sensitive(&stored.id, b"sent", &digest).unwrap();
        let sent = Source::blob(stored.id.clone(), digest);
        assert_eq!(blobs.fetch(&sent, 100).await.unwrap(), "sent");
        assert!(
            blobs.fetch(&source, 100).await.is_err(),
            "its digest is another"
        );

        blobs.forget(&stored.id).unwrap();
        blobs.forget(&stored.id).unwrap();
        assert_eq!(blobs.fetch(&source, 100).await.unwrap(), "from the store");
    }

    #[tokio::test]
    async fn a_source_without_place_or_with_a_hostile_id_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let digest = MultiDigest::parse("da39a3ee5e6b4b0d3255bfef95601890afd80709").unwrap();
        let nowhere = Source::blob(BlobId::default(), digest.clone());
        assert!(matches!(blobs.open(&nowhere).await, Err(Error::NoSource)));
        let hostile = Source::blob(BlobId::from("../../etc/passwd"), digest.clone());
        assert!(matches!(blobs.open(&hostile).await, Err(Error::Blob(_))));
        assert!(
            blobs
                .keep_sensitive(&BlobId::from("../x"), b"", &digest)
                .is_err()
        );
    }
}
