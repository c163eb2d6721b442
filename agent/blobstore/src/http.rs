//! HTTP transfers of one blob: what the DAV backend and signed URLs share.

use crate::{Blob, Chunks, Content, Error, digests::Hashers};
use bosh_protocol::{MultiDigest, digest::Algorithm};
use futures_util::TryStreamExt;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence in the middle of a transfer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a transfer is tried. Upstream: bosh-utils blobstore/provider.go, bosh-davcli client/client.go.
const ATTEMPTS: u32 = 3;

/// An HTTP client for blobs, made when it is first needed: a machine without certificates of its own can still use a
/// local blobstore.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

struct Inner {
    ca: Option<String>,
    /// An internal blobstore is reached directly, an external one through the environment's proxy, as upstream.
    direct: bool,
    client: OnceLock<Result<Client, String>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("direct", &self.inner.direct)
            .finish_non_exhaustive()
    }
}

/// What one upload found out about the bytes that passed.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) digest: MultiDigest,
    pub(crate) size: u64,
}

impl Http {
    pub(crate) fn new(ca: Option<String>, direct: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                ca,
                direct,
                client: OnceLock::new(),
            }),
        }
    }

    pub(crate) fn client(&self) -> Result<&Client, Error> {
        let made = self.inner.client.get_or_init(|| {
            let mut builder = Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
                .tcp_nodelay(true);
            if self.inner.direct {
                builder = builder.no_proxy();
            }
            if let Some(ca) = &self.inner.ca {
                let certs = reqwest::Certificate::from_pem_bundle(ca.as_bytes())
                    .map_err(|e| e.to_string())?;
                if certs.is_empty() {
                    return Err("tls.cert.ca holds no certificate in PEM".to_owned());
                }
                builder = builder.tls_certs_only(certs);
            }
            builder.build().map_err(|e| chain(&e))
        });
        made.as_ref().map_err(|e| Error::Client(e.clone()))
    }

    /// Opens the blob behind a signed URL, unverified. The URL never appears in an error.
    pub async fn get(&self, url: &str, headers: &BTreeMap<String, String>) -> Result<Blob, Error> {
        let id = "signed URL";
        let request = with_headers(self.client()?.get(url), headers);
        retry(|| async { Ok(into_blob(id, open("getting", id, clone(&request)).await?)) }).await
    }

    /// Stores content under a signed URL and returns its digests.
    pub async fn put(
        &self,
        url: &str,
        headers: &BTreeMap<String, String>,
        content: impl Into<Content>,
        algorithms: &[Algorithm],
    ) -> Result<MultiDigest, Error> {
        let request = with_headers(self.client()?.request(Method::PUT, url), headers);
        let sent = send(
            "signed URL",
            request,
            content.into(),
            algorithms,
            |status| status.is_success(),
        )
        .await?;
        Ok(sent.digest)
    }
}

fn with_headers(mut request: RequestBuilder, headers: &BTreeMap<String, String>) -> RequestBuilder {
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request
}

/// A request without a body, once more.
pub(crate) fn clone(request: &RequestBuilder) -> RequestBuilder {
    request
        .try_clone()
        .expect("a request without a streaming body can be cloned")
}

/// Runs `attempt` until it succeeds, fails for good, or has failed [`ATTEMPTS`] times.
pub(crate) async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut n = 1;
    loop {
        match attempt().await {
            Err(error) if error.is_retryable() && n < ATTEMPTS => {
                tracing::info!(attempt = n, of = ATTEMPTS, %error, "a blob transfer failed, trying again");
                tokio::time::sleep(Duration::from_millis(100 << n)).await;
                n += 1;
            }
            other => return other,
        }
    }
}

/// Sends a request and turns every status but success into an error.
pub(crate) async fn open(
    operation: &'static str,
    id: &str,
    request: RequestBuilder,
) -> Result<Response, Error> {
    let response = request
        .send()
        .await
        .map_err(|e| Error::http(operation, id, e))?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(failed(operation, id, response).await)
    }
}

pub(crate) async fn failed(operation: &'static str, id: &str, mut response: Response) -> Error {
    if response.status() == StatusCode::NOT_FOUND {
        return Error::NotFound(id.to_owned());
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= 1024 {
            break;
        }
    }
    body.truncate(1024);
    let body = String::from_utf8_lossy(&body).into_owned();
    Error::Status {
        operation,
        id: id.to_owned(),
        status: response.status().as_u16(),
        body,
    }
}

pub(crate) fn into_blob(id: &str, response: Response) -> Blob {
    let size = response.content_length();
    let name = id.to_owned();
    let chunks = response
        .bytes_stream()
        .map_err(move |e| Error::http("getting", &name, e));
    Blob::new(id, size, Box::pin(chunks))
}

/// Sends content with `request`, hashing it on the way, again if that may help.
pub(crate) async fn send(
    id: &str,
    request: RequestBuilder,
    content: Content,
    algorithms: &[Algorithm],
    accept: impl Fn(StatusCode) -> bool,
) -> Result<Sent, Error> {
    let sent = send_for(id, request, content, algorithms, accept).await?;
    Ok(sent.0)
}

/// The same, for those who need the reply's headers.
pub(crate) async fn send_for(
    id: &str,
    request: RequestBuilder,
    mut content: Content,
    algorithms: &[Algorithm],
    accept: impl Fn(StatusCode) -> bool,
) -> Result<(Sent, header::HeaderMap), Error> {
    let mut n = 1;
    loop {
        match send_once(id, clone(&request), &mut content, algorithms, &accept).await {
            Err(error) if error.is_retryable() && content.can_retry() && n < ATTEMPTS => {
                tracing::info!(attempt = n, of = ATTEMPTS, %error, "a blob transfer failed, trying again");
                tokio::time::sleep(Duration::from_millis(100 << n)).await;
                n += 1;
            }
            other => return other,
        }
    }
}

async fn send_once(
    id: &str,
    mut request: RequestBuilder,
    content: &mut Content,
    algorithms: &[Algorithm],
    accept: &impl Fn(StatusCode) -> bool,
) -> Result<(Sent, header::HeaderMap), Error> {
    let (chunks, size) = content.open(id).await?;
    if let Some(size) = size {
        request = request.header(header::CONTENT_LENGTH, size);
    }
    let (chunks, hashed) = Hashed::tap(chunks, algorithms);
    let response = request
        .body(reqwest::Body::wrap_stream(chunks.map_err(Error::into_io)))
        .send()
        .await
        .map_err(|e| Error::http("putting", id, e))?;
    if !accept(response.status()) {
        return Err(failed("putting", id, response).await);
    }
    let headers = response.headers().clone();
    Ok((hashed.finish(), headers))
}

/// Hashes and counts from the side what somebody else consumes.
pub(crate) struct Hashed(Arc<Mutex<(Hashers, u64)>>);

impl Hashed {
    pub(crate) fn tap(chunks: Chunks, algorithms: &[Algorithm]) -> (Chunks, Self) {
        let hashed = Arc::new(Mutex::new((Hashers::new(algorithms), 0)));
        let tap = Arc::clone(&hashed);
        let chunks = chunks.inspect_ok(move |chunk| {
            let mut tap = tap.lock().unwrap_or_else(PoisonError::into_inner);
            tap.0.update(chunk);
            tap.1 += chunk.len() as u64;
        });
        (Box::pin(chunks), Self(hashed))
    }

    pub(crate) fn finish(self) -> Sent {
        let hashed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Sent {
            digest: hashed.0.clone().finish(),
            size: hashed.1,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
