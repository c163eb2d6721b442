//! The message bus of `bosh create-env`: HTTPS with a password, requests at `/agent`, blobs at `/blobs/<id>`.
//! Source: upstream mbus/https_{handler,dispatcher}.go.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bosh_protocol::settings::CertKeyPair;
use bosh_protocol::{Secret, Settings};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::io::ReaderStream;

use super::audit::{Audit, HttpCall};
use super::{Error, reply};
use crate::agent::Agent;
use crate::rpc;

/// Connections at a time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 32;
/// The largest request: `upload_blob` carries rendered templates. Bytes.
const MAX_REQUEST: usize = 128 * 1024 * 1024;
/// For a handshake, and for the head of a request.
const DEADLINE: Duration = Duration::from_secs(30);

type Body = BoxBody<Bytes, std::io::Error>;

/// Where to listen and whom to let in, from `https://user:password@host:port`.
pub struct Endpoint {
    address: String,
    authorization: Secret,
}

impl Endpoint {
    /// Understands the URL of the settings; it is not shown in errors, for it has a password in it.
    pub fn parse(url: &Secret) -> Result<Self, Error> {
        let bad = || Error::BadUrl(std::io::ErrorKind::InvalidInput.into());
        let rest = url.expose().strip_prefix("https://").ok_or_else(bad)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (credentials, address) = authority.rsplit_once('@').unwrap_or((":", authority));
        if address.is_empty() {
            return Err(bad());
        }
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        });
        let address = if has_port {
            address.to_owned()
        } else {
            format!("{address}:443")
        };
        let credentials = percent_decode(credentials);
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        Ok(Self {
            address,
            authorization: Secret::new(format!("Basic {encoded}")),
        })
    }

    /// Opens the port.
    pub async fn bind(&self) -> Result<TcpListener, Error> {
        let listener = match self
            .address
            .strip_prefix("0.0.0.0:")
            .and_then(|port| port.parse().ok())
        {
            // As Go does: every address of both families, if there are two.
            Some(port) => {
                match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
                    Ok(listener) => Ok(listener),
                    Err(_) => TcpListener::bind(&self.address).await,
                }
            }
            None => TcpListener::bind(&self.address).await,
        };
        listener.map_err(|source| Error::Listen {
            address: self.address.clone(),
            source,
        })
    }

    /// In constant time as far as the length is not the secret.
    fn lets_in(&self, authorization: Option<&HeaderValue>) -> bool {
        let expected = self.authorization.expose().as_bytes();
        let given = authorization.map(HeaderValue::as_bytes).unwrap_or_default();
        expected.len() == given.len()
            && expected
                .iter()
                .zip(given)
                .fold(0, |different, (a, b)| different | (a ^ b))
                == 0
    }
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(&byte) = bytes.next() {
        let rest = bytes.as_slice();
        let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex
            .filter(|_| byte == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(value) => {
                decoded.push(value);
                bytes.nth(1);
            }
            None => decoded.push(byte),
        }
    }
    decoded
}

/// Serves until the settings change; connections live on. Fails if the settings are unusable.
pub async fn serve(agent: Arc<Agent>, mut changes: watch::Receiver<u64>) -> Result<(), Error> {
    changes.mark_unchanged();
    agent.bus.silence();
    let settings = agent.settings.get();
    let url = settings
        .mbus_urls()
        .into_iter()
        .next()
        .ok_or(Error::NoUrl)?;
    let server = Arc::new(Server {
        agent,
        endpoint: Endpoint::parse(&url)?,
        acceptor: TlsAcceptor::from(Arc::new(server_config(settings.mbus_cert())?)),
        audit: Audit::start(),
    });
    let listener = server.endpoint.bind().await?;
    tracing::info!(address = server.endpoint.address, "serve HTTPS");
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return Ok(());
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = changes.changed() => return Ok(()),
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, usually; they come back.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let server = server.clone();
        tokio::spawn(async move {
            connection(server, stream, peer).await;
            drop(permit);
        });
    }
}

/// Whether these settings could be served.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    let url = settings
        .mbus_urls()
        .into_iter()
        .next()
        .ok_or(Error::NoUrl)?;
    Endpoint::parse(&url)?;
    server_config(settings.mbus_cert()).map(drop)
}

struct Server {
    agent: Arc<Agent>,
    endpoint: Endpoint,
    acceptor: TlsAcceptor,
    audit: Audit,
}

fn server_config(pair: &CertKeyPair) -> Result<ServerConfig, Error> {
    let bad = |what| {
        move |error: rustls::pki_types::pem::Error| Error::Certificate(what, Box::new(error))
    };
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(bad("parse certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.expose().as_bytes())
        .map_err(bad("parse private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Certificate("choose protocol", Box::new(error)))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| Error::Certificate("use certificate and private key", Box::new(error)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn connection(server: Arc<Server>, stream: TcpStream, peer: SocketAddr) {
    let stream = match tokio::time::timeout(DEADLINE, server.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let server = server.clone();
        async move {
            let call = audited(&request, peer);
            let response = respond(&server, request).await;
            server.audit.http(&call, response.status().as_u16());
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTPS connection");
    }
}

/// What the audit log says of a request.
fn audited(request: &Request<Incoming>, peer: SocketAddr) -> HttpCall {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let credentials = header(AUTHORIZATION.as_str())
        .strip_prefix("Basic ")
        .and_then(|encoded| {
            base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .ok()
        });
    let user = credentials.as_deref().map(|credentials| {
        let user = credentials.split(|byte| *byte == b':').next();
        String::from_utf8_lossy(user.unwrap_or_default()).into_owned()
    });
    HttpCall {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        user: user.unwrap_or_default(),
        peer: Some(peer),
        headers: format!(
            "HOST={}&X_REAL_IP={}&X_FORWARDED_FOR={}&X_FORWARDED_PROTO={}&USER_AGENT={}",
            header("http_host"),
            header("http_x_real_ip"),
            header("http_x_forwarded_for"),
            header("http_x_forwarded_proto"),
            header("http_user_agent"),
        ),
    }
}

async fn respond(server: &Server, request: Request<Incoming>) -> Response<Body> {
    let agent = &server.agent;
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let blob = path
        .strip_prefix("/blobs/")
        .map(|rest| rest.rsplit('/').next().unwrap_or_default().to_owned());
    if path != "/agent" && blob.is_none() {
        return status(StatusCode::NOT_FOUND);
    }
    if !server
        .endpoint
        .lets_in(request.headers().get(AUTHORIZATION))
    {
        let mut response = status(StatusCode::UNAUTHORIZED);
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"\""),
        );
        return response;
    }
    tracing::info!(%method, path, "HTTPS request");
    match (method, blob) {
        (Method::POST, None) => call(agent, request).await,
        (Method::GET, Some(id)) => get_blob(agent, &id).await,
        (Method::PUT, Some(id)) => put_blob(agent, &id, request).await,
        _ => status(StatusCode::NOT_FOUND),
    }
}

async fn call(agent: &Arc<Agent>, request: Request<Incoming>) -> Response<Body> {
    let body = match Limited::new(request.into_body(), MAX_REQUEST)
        .collect()
        .await
    {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            tracing::error!(error, "Reading http body");
            return status(StatusCode::BAD_REQUEST);
        }
    };
    match rpc::Request::parse(&body) {
        Ok(envelope) => {
            let response = rpc::dispatch(agent, envelope).await;
            Response::new(full(reply::encode(&response, usize::MAX)))
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a request that is none"
            );
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

async fn get_blob(agent: &Agent, id: &str) -> Response<Body> {
    let Some(path) = blob_path(agent, id) else {
        return status(StatusCode::NOT_FOUND);
    };
    match tokio::fs::File::open(&path).await {
        Ok(file) => {
            let frames =
                ReaderStream::with_capacity(file, 64 * 1024).map(|chunk| chunk.map(Frame::data));
            Response::new(BodyExt::boxed(StreamBody::new(frames)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => status(StatusCode::NOT_FOUND),
        Err(error) => failed(&error),
    }
}

/// Blobs that arrive this way come before those of the blobstore.
async fn put_blob(agent: &Agent, id: &str, request: Request<Incoming>) -> Response<Body> {
    let Some(path) = blob_path(agent, id) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let written = async {
        tokio::fs::create_dir_all(agent.dirs().blobs()).await?;
        let partial = path.with_file_name(format!(".{id}.part"));
        let mut file = tokio::fs::File::create(&partial).await?;
        let mut chunks = request.into_body().into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    tokio::fs::remove_file(&partial).await?;
                    return Err(std::io::Error::other(error));
                }
            };
            file.write_all(&chunk).await?;
        }
        file.sync_all().await?;
        tokio::fs::rename(&partial, &path).await
    };
    match written.await {
        Ok(()) => status(StatusCode::CREATED),
        Err(error) => failed(&error),
    }
}

/// Where a blob is; `None` if it has a name that is no file's.
fn blob_path(agent: &Agent, id: &str) -> Option<PathBuf> {
    bosh_blobstore::id::check(id).ok()?;
    (!id.contains('/')).then(|| agent.dirs().blobs().join(id))
}

fn failed(error: &std::io::Error) -> Response<Body> {
    tracing::error!(%error, "blob");
    let mut response = Response::new(full(error.to_string()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = code;
    response
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Result<Endpoint, Error> {
        Endpoint::parse(&url.into())
    }

    #[test]
    fn urls() {
        let parsed = endpoint("https://vcap:b00t%40strap@0.0.0.0:6868").unwrap();
        assert_eq!(parsed.address, "0.0.0.0:6868");
        let given = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let lets_in =
            |text: &str| parsed.lets_in(Some(&format!("Basic {}", given(text)).parse().unwrap()));
        assert!(lets_in("vcap:b00t@strap"));
        assert!(!lets_in("vcap:b00t@stra."));
        assert!(!lets_in(""));
        assert!(!parsed.lets_in(None));
        assert_eq!(endpoint("https://h").unwrap().address, "h:443");
        assert_eq!(
            endpoint("https://a:b@[::]:6868/x").unwrap().address,
            "[::]:6868"
        );
        let error = endpoint("nats://user:hush@h").err().unwrap();
        assert!(!format!("{error:?}{error}").contains("hush"));
    }
}
