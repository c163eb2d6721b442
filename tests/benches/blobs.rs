//! A web server on the loopback address that serves blobs from memory, and tarballs to put into it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use bosh_tests::release::hex;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use tokio::net::TcpListener;

type Stored = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// A running server, for the rest of this program.
pub(crate) struct Blobs {
    address: SocketAddr,
    stored: Stored,
}

impl Blobs {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stored) = (listener.local_addr()?, Stored::default());
        let router = Router::new()
            .route("/{folder}/{id}", get(blob))
            .with_state(Arc::clone(&stored));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, stored })
    }

    /// Keeps a blob; its SHA-1.
    pub(crate) fn put(&self, id: &str, blob: impl Into<Bytes>) -> String {
        let blob = blob.into();
        let digest = hex(&Sha1::digest(&blob));
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.insert(id.to_owned(), blob);
        digest
    }

    /// Where anyone finds a blob.
    pub(crate) fn url(&self, id: &str) -> String {
        format!("http://{}/any/{id}", self.address)
    }

    /// How an agent is told about it.
    pub(crate) fn settings(&self) -> Value {
        json!({ "provider": "dav", "options": { "endpoint": format!("http://{}", self.address), "user": "agent", "password": "agent" } })
    }
}

async fn blob(
    State(stored): State<Stored>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Bytes, StatusCode> {
    let stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
    stored.get(&id).cloned().ok_or(StatusCode::NOT_FOUND)
}

/// A gzipped tarball of (path, mode, content).
pub(crate) fn tgz(files: &[(&str, u32, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, path, *content)?;
    }
    let mut gzip = tar.into_inner()?;
    gzip.flush()?;
    Ok(gzip.finish()?)
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Bytes that do not compress.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
