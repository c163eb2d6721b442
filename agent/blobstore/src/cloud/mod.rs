//! Object stores of clouds, each behind a feature of this crate: the director has them, the agent gets URLs that are signed.
//!
//! `object_store` speaks their languages; this says what options they have, and streams. Options are those of upstream's
//! storage command-line programs: bosh-director's blobstore/{s3cli,gcscli,azurestoragecli}_blobstore_client.rb.

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "s3")]
mod s3;

use crate::{Action, Blob, Content, Error, Listed, SignedUrl, digests::Hashers, http::Sent, id};
use bosh_protocol::{BlobId, digest::Algorithm};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use object_store::{
    HeaderMap, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
    path::Path,
    signer::{Method, SignedUrlOptions, Signer},
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Larger blobs are sent in parts of this size, this many at a time: memory use does not depend on a blob's size.
const PART: usize = 8 << 20;
const PARTS_IN_FLIGHT: usize = 2;

#[derive(Debug)]
pub(crate) struct Cloud {
    store: Arc<dyn ObjectStore>,
    /// `None` where there is nothing to sign with.
    signer: Option<Arc<dyn Signer>>,
    /// Before all ids.
    folder: Option<String>,
    enable_signed_urls: bool,
    /// What users of signed URLs have to send, and what of that is part of the signature.
    headers: BTreeMap<String, String>,
    signed_headers: HeaderMap,
}

impl Cloud {
    /// The provider of that name; `None` if there is none of these or its feature is off.
    pub(crate) fn open(provider: &str, options: &Value) -> Option<Result<Self, Error>> {
        match provider {
            #[cfg(feature = "s3")]
            "s3" | "s3cli" => Some(s3::open(options)),
            #[cfg(feature = "gcs")]
            "gcs" | "gcscli" => Some(gcs::open(options)),
            #[cfg(feature = "azure")]
            "azure-storage" | "azurestoragecli" => Some(azure::open(options)),
            _ => {
                let _ = options;
                None
            }
        }
    }

    pub(crate) fn signing_enabled(&self) -> bool {
        self.enable_signed_urls
    }

    pub(crate) fn headers(&self) -> &BTreeMap<String, String> {
        &self.headers
    }

    fn path(&self, id: &str) -> Result<Path, Error> {
        id::check(id)?;
        let key = match &self.folder {
            Some(folder) => format!("{}/{id}", folder.trim_matches('/')),
            None => id.to_owned(),
        };
        Path::parse(key).map_err(|_| Error::InvalidId(id.to_owned()))
    }

    pub(crate) async fn open_blob(&self, id: &str) -> Result<Blob, Error> {
        let found = self.store.get(&self.path(id)?).await;
        let found = found.map_err(|e| failed("getting", id, e))?;
        let (size, name) = (found.meta.size, id.to_owned());
        let chunks = found
            .into_stream()
            .map_err(move |e| failed("getting", &name, e));
        Ok(Blob::new(id, Some(size), Box::pin(chunks)))
    }

    pub(crate) async fn put(
        &self,
        id: &str,
        mut content: Content,
        algorithms: &[Algorithm],
    ) -> Result<Sent, Error> {
        let path = self.path(id)?;
        let wrap = |e| failed("putting", id, e);
        let (mut chunks, _) = content.open(id).await?;
        let mut hasher = Hashers::new(algorithms);
        let mut size = 0;
        let mut next = async || -> Result<Option<Bytes>, Error> {
            let chunk = chunks.next().await.transpose()?;
            if let Some(chunk) = &chunk {
                hasher.update(chunk);
                size += chunk.len() as u64;
            }
            Ok(chunk)
        };
        let mut first = BytesMut::new();
        let mut more = false;
        while let Some(chunk) = next().await? {
            first.extend_from_slice(&chunk);
            if first.len() >= PART {
                more = true;
                break;
            }
        }
        if more {
            let upload = self.store.put_multipart(&path).await.map_err(wrap)?;
            let mut parts = WriteMultipart::new_with_chunk_size(upload, PART);
            parts.put(first.freeze());
            let sent = async {
                loop {
                    parts
                        .wait_for_capacity(PARTS_IN_FLIGHT)
                        .await
                        .map_err(wrap)?;
                    match next().await? {
                        Some(chunk) => parts.put(chunk),
                        None => return Ok(()),
                    }
                }
            };
            if let Err(error) = sent.await {
                // Its parts would be kept, and paid for, until somebody looks.
                if let Err(abort) = parts.abort().await {
                    tracing::warn!(id, error = %abort, "cannot abort an upload in parts");
                }
                return Err(error);
            }
            parts.finish().await.map_err(wrap)?;
        } else {
            self.store
                .put(&path, first.freeze().into())
                .await
                .map_err(wrap)?;
        }
        Ok(Sent {
            digest: hasher.finish(),
            size,
        })
    }

    pub(crate) async fn exists(&self, id: &str) -> Result<bool, Error> {
        match self.store.head(&self.path(id)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(failed("looking for", id, e)),
        }
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        match self.store.delete(&self.path(id)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(failed("deleting", id, e)),
        }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Listed>, Error> {
        let folder = self
            .folder
            .as_deref()
            .map(|folder| folder.trim_matches('/'));
        let prefix = folder.map(Path::from);
        let mut listing = self.store.list(prefix.as_ref());
        let mut all = Vec::new();
        while let Some(object) = listing.next().await {
            let object = object.map_err(|e| failed("listing", "*", e))?;
            let key = object.location.as_ref();
            let id = match folder {
                Some(folder) => key
                    .strip_prefix(folder)
                    .and_then(|key| key.strip_prefix('/')),
                None => Some(key),
            };
            if let Some(id) = id {
                all.push(Listed {
                    id: BlobId::from(id),
                    stored: object.last_modified.into(),
                });
            }
        }
        Ok(all)
    }

    pub(crate) async fn sign(
        &self,
        id: &str,
        action: Action,
        valid_for: Duration,
    ) -> Result<SignedUrl, Error> {
        let signer = self
            .signer
            .as_ref()
            .ok_or(Error::CannotSign("no credentials in its options"))?;
        let method = match action {
            Action::Get => Method::GET,
            Action::Put => Method::PUT,
        };
        let path = self.path(id)?;
        let mut signed = SignedUrlOptions::default();
        for (name, value) in &self.signed_headers {
            signed = signed.with_signed_header(name.clone(), value.clone());
        }
        let url = signer.signed_url_opts(method, &path, valid_for, &signed);
        let url = url.await.map_err(|e| failed("signing", id, e))?;
        Ok(SignedUrl::new(url.to_string()))
    }
}

/// A few tries within a few minutes, as the other backends.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(180),
        ..RetryConfig::default()
    }
}

fn invalid(provider: &'static str, reason: impl Into<String>) -> Error {
    Error::InvalidOptions {
        provider,
        reason: reason.into(),
    }
}

fn failed(operation: &'static str, id: &str, error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::NotFound(id.to_owned()),
        source => Error::Cloud {
            operation,
            id: id.to_owned(),
            source: Box::new(source),
        },
    }
}
