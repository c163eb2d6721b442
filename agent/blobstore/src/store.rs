//! The blobstore as its users see it, whichever the provider.

#[cfg(feature = "atmos")]
use crate::atmos::Atmos;
#[cfg(feature = "cloud")]
use crate::cloud::Cloud;
#[cfg(feature = "simple")]
use crate::simple::Simple;
use crate::{
    Blob, Content, Error,
    dav::Dav,
    http::{self, Http, Sent},
    id,
    local::{Layout, Local},
    options,
    program::Program,
    signing::{self, Action, SignedUrl},
};
use bosh_protocol::{BlobId, MultiDigest, digest::Algorithm};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A blobstore. Cheap to clone; clones share one HTTP client.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    http: Http,
    signer: Option<Signer>,
    folder: Option<String>,
}

#[derive(Debug)]
enum Backend {
    Local(Local),
    Dav(Dav),
    Program(Program),
    #[cfg(feature = "simple")]
    Simple(Simple),
    #[cfg(feature = "atmos")]
    Atmos(Atmos),
    #[cfg(feature = "cloud")]
    Cloud(Cloud),
}

/// The same for each backend.
macro_rules! each {
    ($store:expr, $backend:ident => $call:expr) => {
        match &$store.0.backend {
            Backend::Local($backend) => $call,
            Backend::Dav($backend) => $call,
            Backend::Program($backend) => $call,
            #[cfg(feature = "simple")]
            Backend::Simple($backend) => $call,
            #[cfg(feature = "atmos")]
            Backend::Atmos($backend) => $call,
            #[cfg(feature = "cloud")]
            Backend::Cloud($backend) => $call,
        }
    };
}

struct Signer {
    endpoint: String,
    secret: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A blob that has been stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The id to get it back with.
    pub id: BlobId,
    /// The digests asked for.
    pub digest: MultiDigest,
    /// Its size in bytes.
    pub size: u64,
}

/// A blob that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: BlobId,
    /// When it was stored.
    pub stored: SystemTime,
}

impl Store {
    /// The blobstore that the settings describe: `{"provider": "dav", "options": {...}}`.
    ///
    /// Providers: `local` ([`options::Local`]), `dav` ([`options::Dav`]), and with their features `simple`
    /// ([`options::Simple`]), `atmos` ([`options::Atmos`]), `s3` ([`options::S3`]), `gcs` ([`options::Gcs`]),
    /// `azure-storage` ([`options::Azure`]); also under the names of upstream's command-line programs: `davcli`, `s3cli`,
    /// `gcscli`, `azurestoragecli`. Nothing is contacted yet.
    pub fn open(provider: &str, options: &Value) -> Result<Self, Error> {
        let ca = options::ca(options);
        #[cfg(feature = "cloud")]
        if let Some(cloud) = Cloud::open(provider, options) {
            return Ok(Self::with(
                Backend::Cloud(cloud?),
                Http::new(ca, false),
                None,
                None,
            ));
        }
        match provider {
            "local" => {
                let local: options::Local = options::parse("local", options)?;
                let path = local
                    .blobstore_path
                    .strip_prefix("file://")
                    .unwrap_or(&local.blobstore_path);
                if !path.starts_with('/') {
                    let reason = "blobstore_path: expected an absolute path".to_owned();
                    return Err(Error::InvalidOptions {
                        provider: "local",
                        reason,
                    });
                }
                let backend = Backend::Local(Local::new(PathBuf::from(path), Layout::Flat));
                Ok(Self::with(backend, Http::new(ca, true), None, None))
            }
            "dav" | "davcli" => {
                let dav: options::Dav = options::parse("dav", options)?;
                if !dav.endpoint.starts_with("https://") && !dav.endpoint.starts_with("http://") {
                    let reason = "endpoint: expected an http:// or https:// URL".to_owned();
                    return Err(Error::InvalidOptions {
                        provider: "dav",
                        reason,
                    });
                }
                let signer = dav
                    .secret
                    .clone()
                    .filter(|secret| !secret.is_empty())
                    .map(|secret| Signer {
                        endpoint: dav.endpoint.clone(),
                        secret,
                    });
                let folder = dav.folder.clone();
                let http = Http::new(ca, true);
                Ok(Self::with(
                    Backend::Dav(Dav::new(dav, http.clone())),
                    http,
                    signer,
                    folder,
                ))
            }
            #[cfg(feature = "simple")]
            "simple" => {
                let http = Http::new(ca, true);
                let simple = Simple::new(options::parse("simple", options)?, http.clone());
                Ok(Self::with(Backend::Simple(simple), http, None, None))
            }
            #[cfg(feature = "atmos")]
            "atmos" => {
                let http = Http::new(ca, false);
                let atmos = Atmos::new(options::parse("atmos", options)?, http.clone());
                Ok(Self::with(Backend::Atmos(atmos), http, None, None))
            }
            other => Err(Error::UnknownProvider(other.to_owned())),
        }
    }

    /// The same; a provider that this build does not speak is left to a program `bosh-blobstore-<provider>`, whose options go
    /// to a file in `config_dir`.
    pub fn open_or_run(provider: &str, options: &Value, config_dir: &Path) -> Result<Self, Error> {
        match Self::open(provider, options) {
            Err(Error::UnknownProvider(_)) => {
                let program = Program::open(provider, options, config_dir)?;
                let http = Http::new(options::ca(options), true);
                Ok(Self::with(Backend::Program(program), http, None, None))
            }
            other => other,
        }
    }

    /// The blobs of a director that serves them itself: files in the DAV layout (`<xx>/<id>`) below `root`, and signed
    /// URLs that point to `endpoint`, where the same director answers.
    pub fn embedded(root: impl Into<PathBuf>, endpoint: &str, secret: &str) -> Self {
        let signer = Signer {
            endpoint: endpoint.to_owned(),
            secret: secret.to_owned(),
        };
        Self::with(
            Backend::Local(Local::new(root.into(), Layout::Dav)),
            Http::new(None, true),
            Some(signer),
            None,
        )
    }

    fn with(backend: Backend, http: Http, signer: Option<Signer>, folder: Option<String>) -> Self {
        Self(Arc::new(Inner {
            backend,
            http,
            signer,
            folder,
        }))
    }

    /// For URLs that somebody else has signed: the client that trusts this blobstore's CA.
    pub fn http(&self) -> &Http {
        &self.0.http
    }

    /// Opens a blob without checking its digest: for those who hash the bytes themselves, in a thread of their own.
    pub async fn open_unverified(&self, id: &str) -> Result<Blob, Error> {
        each!(self, backend => backend.open_blob(id).await)
    }

    /// Opens a blob whose stream fails at its end unless the strongest of these digests matches.
    pub async fn get(&self, id: &str, digest: &MultiDigest) -> Result<Blob, Error> {
        Ok(self.open_unverified(id).await?.verified(digest))
    }

    /// Fetches a blob into the file `path` and returns its size; tried again if the transfer breaks or the digest does not
    /// match. On an error no file is left.
    pub async fn get_to_file(
        &self,
        id: &str,
        digest: Option<&MultiDigest>,
        path: &Path,
    ) -> Result<u64, Error> {
        http::retry(|| async {
            let blob = self.open_unverified(id).await?;
            match digest {
                Some(digest) => blob.verified(digest),
                None => blob,
            }
            .into_file(path)
            .await
        })
        .await
    }

    /// Fetches a blob of at most `limit` bytes into memory.
    pub async fn get_bytes(
        &self,
        id: &str,
        digest: Option<&MultiDigest>,
        limit: u64,
    ) -> Result<Bytes, Error> {
        http::retry(|| async {
            let blob = self.open_unverified(id).await?;
            match digest {
                Some(digest) => blob.verified(digest),
                None => blob,
            }
            .into_bytes(limit)
            .await
        })
        .await
    }

    /// Stores content under a fresh id, computing these digests of it on the way.
    pub async fn put(
        &self,
        content: impl Into<Content>,
        algorithms: &[Algorithm],
    ) -> Result<Stored, Error> {
        #[cfg(feature = "atmos")]
        if let Backend::Atmos(atmos) = &self.0.backend {
            let (id, sent) = atmos.create(content.into(), algorithms).await?;
            return Ok(Stored::new(&id, sent));
        }
        let id = self.generate_id();
        self.put_with_id(id.as_str(), content, algorithms).await
    }

    /// Whether the store makes up ids itself, and [`Store::put`] alone can store.
    pub fn chooses_ids(&self) -> bool {
        #[cfg(feature = "atmos")]
        return matches!(self.0.backend, Backend::Atmos(_));
        #[cfg(not(feature = "atmos"))]
        false
    }

    /// Stores content under an id of the caller's.
    pub async fn put_with_id(
        &self,
        id: &str,
        content: impl Into<Content>,
        algorithms: &[Algorithm],
    ) -> Result<Stored, Error> {
        let content = content.into();
        let sent = match &self.0.backend {
            Backend::Local(local) => local.put(id, content, algorithms).await?,
            Backend::Dav(dav) => dav.put(id, content, algorithms).await?,
            Backend::Program(program) => program.put(id, content, algorithms).await?,
            #[cfg(feature = "simple")]
            Backend::Simple(simple) => simple.put(id, content, algorithms).await?,
            #[cfg(feature = "atmos")]
            Backend::Atmos(_) => return Err(Error::ReadOnly("Atmos chooses ids itself")),
            #[cfg(feature = "cloud")]
            Backend::Cloud(cloud) => cloud.put(id, content, algorithms).await?,
        };
        Ok(Stored::new(id, sent))
    }

    /// Whether there is such a blob.
    pub async fn exists(&self, id: &str) -> Result<bool, Error> {
        each!(self, backend => backend.exists(id).await)
    }

    /// Deletes a blob; one that is not there is no error.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        each!(self, backend => backend.delete(id).await)
    }

    /// All blobs, in no order. Stores that are reached by HTTP or through a program cannot tell.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        match &self.0.backend {
            Backend::Local(local) => local.list().await,
            #[cfg(feature = "cloud")]
            Backend::Cloud(cloud) => cloud.list().await,
            _ => Err(Error::CannotList),
        }
    }

    /// Removes what transfers that were killed have left behind since before then; how many.
    pub async fn remove_abandoned(&self, before: SystemTime) -> Result<usize, Error> {
        match &self.0.backend {
            Backend::Local(local) => local.remove_abandoned(before).await,
            // They show nothing half-stored, and throw it away themselves.
            _ => Ok(0),
        }
    }

    /// Whether agents are to be given signed URLs instead of ids. Upstream: blobstore/client.rb, signing_enabled?.
    pub fn signing_enabled(&self) -> bool {
        match &self.0.backend {
            Backend::Local(_) => self.0.signer.is_some(),
            Backend::Dav(dav) => self.0.signer.is_some() && dav.options().enable_signed_urls,
            #[cfg(feature = "cloud")]
            Backend::Cloud(cloud) => cloud.signing_enabled(),
            _ => false,
        }
    }

    /// The headers that users of signed URLs have to send along. Upstream: `headers` of the director's blobstore clients.
    pub fn headers(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        match &self.0.backend {
            #[cfg(feature = "cloud")]
            Backend::Cloud(cloud) => cloud.headers(),
            _ => &NONE,
        }
    }

    /// Signs the URL of the blob `id`, which for [`Action::Put`] need not exist yet. Upstream's director asks for 24 hours.
    /// Object stores take the time to be now.
    pub async fn sign(
        &self,
        id: &str,
        action: Action,
        now: SystemTime,
        valid_for: Duration,
    ) -> Result<SignedUrl, Error> {
        match &self.0.backend {
            #[cfg(feature = "cloud")]
            Backend::Cloud(cloud) => return cloud.sign(id, action, valid_for).await,
            #[cfg(feature = "atmos")]
            Backend::Atmos(atmos) => return atmos.sign(id, action, now, valid_for),
            _ => {}
        }
        let signer = self
            .0
            .signer
            .as_ref()
            .ok_or(Error::CannotSign("no secret in its options"))?;
        signing::sign(&signer.endpoint, &signer.secret, id, action, now, valid_for)
    }

    /// Makes a fresh id, for what is to be stored.
    pub fn generate_id(&self) -> BlobId {
        BlobId::new(match &self.0.folder {
            Some(folder) => format!("{folder}/{}", id::generate()),
            None => id::generate(),
        })
    }
}

impl Stored {
    fn new(id: &str, sent: Sent) -> Self {
        Self {
            id: BlobId::from(id),
            digest: sent.digest,
            size: sent.size,
        }
    }
}
