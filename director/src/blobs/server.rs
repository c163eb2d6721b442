//! The routes of the blob server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bosh_blobstore::signing;
use bosh_protocol::Secret;
use ring::digest;
use tokio_util::io::ReaderStream;

use super::files::{Files, PutError};
use super::simple;

/// Largest blob that is taken. Upstream's default of `blobstore.max_upload_size` is 5000 MB.
pub(super) const MAX_UPLOAD: u64 = 5_000 * 1024 * 1024;
/// How much is read from disk at a time.
const CHUNK: usize = 256 * 1024;

/// What is served, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the blobs are.
    pub directory: PathBuf,
    /// Names and passwords that may read and write.
    pub accounts: Vec<(String, Secret)>,
    /// The key of signed URLs.
    pub secret: Secret,
}

impl From<&crate::config::BlobstoreServer> for Options {
    fn from(config: &crate::config::BlobstoreServer) -> Self {
        Self {
            directory: config.directory.clone(),
            accounts: config.accounts.clone(),
            secret: config.secret.clone(),
        }
    }
}

pub(super) struct Server {
    pub(super) files: Files,
    /// Digests of `name:password`, so that comparing takes the same time whatever was sent.
    accounts: Vec<digest::Digest>,
    secret: Secret,
}

/// The blob server, to be served with TLS.
pub fn router(options: Options) -> Router {
    let server = Server {
        files: Files::new(options.directory),
        accounts: options
            .accounts
            .iter()
            .map(|(name, password)| account(format!("{name}:{}", password.expose()).as_bytes()))
            .collect(),
        secret: options.secret,
    };
    Router::new().fallback(handle).with_state(Arc::new(server))
}

fn account(credentials: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, credentials)
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response {
    let Some(path) = decode(request.uri().path()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let path = path.trim_start_matches('/');
    let object = match path.strip_prefix("signed/") {
        Some(object) => {
            if !matches!(*request.method(), Method::GET | Method::HEAD | Method::PUT) {
                return StatusCode::METHOD_NOT_ALLOWED.into_response();
            }
            if !server.is_signed(&request, object) {
                return StatusCode::FORBIDDEN.into_response();
            }
            object
        }
        None => {
            if !server.is_known(&request) {
                return unauthorized(request.method());
            }
            path
        }
    };
    // No object of DAV's: their folders have two letters.
    match object.strip_prefix("resources") {
        Some("") if path == object => return simple::handle(server, None, request).await,
        Some(rest) if path == object && rest.starts_with('/') => {
            return simple::handle(server.clone(), Some(&rest[1..]), request).await;
        }
        _ => {}
    }
    let Some(file) = server.files.path(object) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match *request.method() {
        Method::GET => get(&file, true).await,
        Method::HEAD => get(&file, false).await,
        Method::PUT => server.put(&file, request).await,
        Method::DELETE => delete(&file).await,
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

impl Server {
    fn is_known(&self, request: &Request) -> bool {
        let sent = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
        let Some(sent) = sent else { return false };
        let sent = account(&sent);
        self.accounts
            .iter()
            .fold(false, |known, one| known | (one.as_ref() == sent.as_ref()))
    }

    fn is_signed(&self, request: &Request, object: &str) -> bool {
        let query = request.uri().query().unwrap_or_default();
        let argument = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map_or("", |(_, value)| value)
        };
        signing::verify(
            self.secret.expose(),
            request.method().as_str(),
            object,
            argument("st"),
            argument("ts"),
            argument("e"),
            SystemTime::now(),
        )
        .is_ok()
    }

    async fn put(&self, file: &Path, request: Request) -> Response {
        let length = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok());
        if length.is_some_and(|length| length > MAX_UPLOAD) {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        }
        match self.files.put(file, request.into_body(), MAX_UPLOAD).await {
            Ok(true) => StatusCode::NO_CONTENT.into_response(),
            Ok(false) => StatusCode::CREATED.into_response(),
            Err(error) => refused(file, error),
        }
    }
}

/// What a failed upload is answered.
pub(super) fn refused(file: &Path, error: PutError) -> Response {
    match error {
        PutError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        PutError::Body(error) => {
            tracing::debug!(error, "a blob's upload broke off");
            StatusCode::BAD_REQUEST.into_response()
        }
        PutError::Io(error) => failed("put", file, &error),
    }
}

pub(super) async fn get(file: &Path, with_body: bool) -> Response {
    let opened = match tokio::fs::File::open(file).await {
        Ok(opened) => opened,
        Err(error) => return failed("get", file, &error),
    };
    let metadata = match opened.metadata().await {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => return failed("get", file, &error),
    };
    let body = if with_body {
        Body::from_stream(ReaderStream::with_capacity(opened, CHUNK))
    } else {
        Body::empty()
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, metadata.len().into());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}

pub(super) async fn delete(file: &Path) -> Response {
    match tokio::fs::remove_file(file).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => failed("delete", file, &error),
    }
}

fn failed(operation: &'static str, file: &Path, error: &std::io::Error) -> Response {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, StorageFull};
    match error.kind() {
        NotFound | NotADirectory => StatusCode::NOT_FOUND,
        IsADirectory => StatusCode::CONFLICT,
        kind => {
            tracing::error!(file = %file.display(), %error, operation, "blob");
            if kind == StorageFull {
                StatusCode::INSUFFICIENT_STORAGE
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
    .into_response()
}

fn unauthorized(method: &Method) -> Response {
    let realm = match *method {
        Method::GET | Method::HEAD => "Basic realm=\"Blobstore Read\"",
        _ => "Basic realm=\"Blobstore Write\"",
    };
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, realm)],
    )
        .into_response()
}

/// Decodes percent-encoding; `None` for what is not UTF-8 or not encoded right.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next()?, rest.next()?];
            let hex = std::str::from_utf8(&hex).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
