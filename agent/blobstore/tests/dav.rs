//! The DAV backend and signed URLs against a server that behaves as upstream's nginx does.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like tests"
)]

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::Engine;
use bosh_blobstore::{Action, Content, Error, Store, digests, id, signing};
use bosh_protocol::MultiDigest;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

const SHA1_OF_HELLO: &str = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";

#[derive(Default)]
struct Blobs {
    stored: HashMap<String, Bytes>,
    /// `PUT /a9/abc 201`
    log: Vec<String>,
    /// Answers these with 503 first.
    busy: usize,
    headers: HashMap<String, String>,
}

type Shared = Arc<Mutex<Blobs>>;

async fn serve(State(blobs): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let body = axum::body::to_bytes(body, 1 << 26).await;
    let mut blobs = blobs.lock().unwrap();
    for (name, value) in &parts.headers {
        blobs
            .headers
            .insert(name.to_string(), value.to_str().unwrap_or("?").to_owned());
    }
    let status = |status: StatusCode| status.into_response();
    let response = if blobs.busy > 0 {
        blobs.busy -= 1;
        (StatusCode::SERVICE_UNAVAILABLE, "come back later").into_response()
    } else if let Some(object) = path.strip_prefix("/signed/") {
        let query: HashMap<_, _> = parts
            .uri
            .query()
            .unwrap_or("")
            .split('&')
            .filter_map(|p| p.split_once('='))
            .collect();
        let arg = |key| query.get(key).copied().unwrap_or("");
        let now = SystemTime::now();
        match signing::verify(
            "secret",
            parts.method.as_str(),
            object,
            arg("st"),
            arg("ts"),
            arg("e"),
            now,
        ) {
            Ok(()) => store(&mut blobs, &parts.method, object, body),
            Err(_) => status(StatusCode::FORBIDDEN),
        }
    } else {
        let expected = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode("agent:pw")
        );
        match parts.headers.get(header::AUTHORIZATION) {
            Some(given) if *given == expected => store(&mut blobs, &parts.method, &path[1..], body),
            _ => status(StatusCode::UNAUTHORIZED),
        }
    };
    blobs.log.push(format!(
        "{} {path} {}",
        parts.method,
        response.status().as_u16()
    ));
    response
}

fn store(
    blobs: &mut Blobs,
    method: &Method,
    object: &str,
    body: Result<Bytes, axum::Error>,
) -> Response {
    let there = blobs.stored.contains_key(object);
    match *method {
        Method::GET | Method::HEAD if there => {
            Body::from(blobs.stored[object].clone()).into_response()
        }
        Method::PUT => match body {
            Ok(body) => {
                blobs.stored.insert(object.to_owned(), body);
                if there {
                    StatusCode::NO_CONTENT
                } else {
                    StatusCode::CREATED
                }
                .into_response()
            }
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        },
        Method::DELETE if there => {
            blobs.stored.remove(object);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn options(endpoint: &str) -> serde_json::Value {
    json!({"endpoint": endpoint, "user": "agent", "password": "pw", "secret": "secret", "enable_signed_urls": true,
        "davcli_path": "/unused"})
}

async fn server() -> (Store, Shared, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let blobs = Shared::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(Arc::clone(&blobs));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (
        Store::open("dav", &options(&endpoint)).unwrap(),
        blobs,
        endpoint,
    )
}

fn log(blobs: &Shared) -> Vec<String> {
    std::mem::take(&mut blobs.lock().unwrap().log)
}

fn digest(text: &str) -> MultiDigest {
    MultiDigest::parse(text).unwrap()
}

#[tokio::test]
async fn a_blob_goes_there_and_back() {
    let (store, blobs, _) = server().await;
    let stored = store
        .put(b"hello".to_vec(), digests::SHA1_AND_SHA512)
        .await
        .unwrap();
    assert!(
        stored
            .digest
            .to_string()
            .starts_with(&format!("{SHA1_OF_HELLO};sha512:9b71d224bd62f378")),
        "{}",
        stored.digest
    );
    assert_eq!(stored.size, 5);
    let path = id::dav_path(stored.id.as_str());
    assert_eq!(log(&blobs), [format!("PUT /{path} 201")]);
    assert_eq!(blobs.lock().unwrap().headers["content-length"], "5");

    let id = stored.id.as_str();
    assert_eq!(
        store.get_bytes(id, Some(&stored.digest), 5).await.unwrap(),
        "hello"
    );
    assert!(store.exists(id).await.unwrap());
    assert!(matches!(
        store.get_bytes(id, None, 4).await,
        Err(Error::TooLarge { limit: 4, .. })
    ));
    store.delete(id).await.unwrap();
    store.delete(id).await.unwrap();
    assert!(!store.exists(id).await.unwrap());
    assert!(matches!(
        store.get_bytes(id, None, 9).await,
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        store.get_bytes("../etc", None, 9).await,
        Err(Error::InvalidId(_))
    ));
}

#[tokio::test]
async fn files_are_streamed_and_checked() {
    let (store, blobs, _) = server().await;
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&from, &bytes).unwrap();
    let stored = store.put(from.as_path(), digests::SHA1).await.unwrap();
    assert_eq!(
        store
            .get_to_file(stored.id.as_str(), Some(&stored.digest), &to)
            .await
            .unwrap(),
        3_000_000
    );
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    log(&blobs);

    std::fs::remove_file(&to).unwrap();
    let wrong = digest(SHA1_OF_HELLO);
    let error = store
        .get_to_file(stored.id.as_str(), Some(&wrong), &to)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Digest { .. }) && error.is_retryable());
    assert_eq!(log(&blobs).len(), 3, "a mangled transfer is tried again");
    assert!(!to.exists());
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_stored() {
    let (store, _, _) = server().await;
    let chunks = futures_util::stream::iter(
        ["he", "llo"].map(|text| Ok(Bytes::from_static(text.as_bytes()))),
    );
    let content = Content::Chunks {
        chunks: Box::pin(chunks),
        size: None,
    };
    let stored = store
        .put_with_id("my-id", content, digests::SHA1)
        .await
        .unwrap();
    assert_eq!(
        (stored.id.as_str(), stored.digest.to_string().as_str()),
        ("my-id", SHA1_OF_HELLO)
    );
    assert_eq!(
        store
            .get_bytes("my-id", Some(&digest(SHA1_OF_HELLO)), 99)
            .await
            .unwrap(),
        "hello"
    );
}

#[tokio::test]
async fn a_busy_server_is_asked_again_but_not_for_ever() {
    let (store, blobs, _) = server().await;
    blobs.lock().unwrap().busy = 2;
    let stored = store.put(b"hello".to_vec(), digests::SHA1).await.unwrap();
    blobs.lock().unwrap().busy = 2;
    assert_eq!(
        store.get_bytes(stored.id.as_str(), None, 9).await.unwrap(),
        "hello"
    );
    log(&blobs);
    blobs.lock().unwrap().busy = 99;
    let error = store
        .get_bytes(stored.id.as_str(), None, 9)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("unexpected HTTP status 503: come back later"),
        "{error}"
    );
    // Opening is tried three times, and so is the whole.
    assert!(log(&blobs).len() <= 9);
}

#[tokio::test]
async fn wrong_credentials_are_an_error_at_once() {
    let (_, blobs, endpoint) = server().await;
    let mut options = options(&endpoint);
    options["password"] = json!("wrong");
    let store = Store::open("davcli", &options).unwrap();
    let error = store.put(b"x".to_vec(), digests::SHA1).await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 401, .. }),
        "{error}"
    );
    assert_eq!(log(&blobs).len(), 1);
}

#[tokio::test]
async fn signed_urls_allow_what_they_say_and_never_show() {
    let (store, blobs, endpoint) = server().await;
    let id = store.generate_id();
    let day = Duration::from_secs(24 * 3600);
    let sign = async |action, now| store.sign(id.as_str(), action, now, day).await.unwrap();
    let (put, get) = (
        sign(Action::Put, SystemTime::now()).await,
        sign(Action::Get, SystemTime::now()).await,
    );
    assert!(get.as_str().starts_with(&format!(
        "{endpoint}/signed/{}?e=86400&st=",
        id::dav_path(id.as_str())
    )));

    // An agent has no credentials, only the URL and headers.
    let agent = Store::open("dav", &json!({"endpoint": endpoint})).unwrap();
    let headers = BTreeMap::from([("x-ms-blob-type".to_owned(), "BlockBlob".to_owned())]);
    let made = agent
        .http()
        .put(put.as_str(), &headers, b"hello".to_vec(), digests::SHA1)
        .await
        .unwrap();
    assert_eq!(made.to_string(), SHA1_OF_HELLO);
    assert_eq!(blobs.lock().unwrap().headers["x-ms-blob-type"], "BlockBlob");
    let blob = agent
        .http()
        .get(get.as_str(), &BTreeMap::new())
        .await
        .unwrap();
    assert_eq!(blob.verified(&made).into_bytes(99).await.unwrap(), "hello");

    for url in [
        put.as_str(),
        sign(Action::Get, SystemTime::now() - 2 * day)
            .await
            .as_str(),
    ] {
        let error = agent.http().get(url, &BTreeMap::new()).await.unwrap_err();
        assert!(
            matches!(error, Error::Status { status: 403, .. }),
            "{error}"
        );
        assert!(!error.to_string().contains("st="));
    }
    let unreachable = get.as_str().replace(&endpoint, "http://127.0.0.1:1");
    let error = agent
        .http()
        .get(&unreachable, &BTreeMap::new())
        .await
        .unwrap_err();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    assert!(!text.contains("st="), "{text}");
    assert!(matches!(
        agent.sign("x", Action::Get, SystemTime::now(), day).await,
        Err(Error::CannotSign(_))
    ));
    assert!(store.signing_enabled() && !agent.signing_enabled());
}

#[tokio::test]
async fn the_servers_certificate_must_be_signed_by_the_ca_given() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
        .unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let with_ca = |pem: String| {
        Store::open(
            "dav",
            &json!({"endpoint": endpoint, "tls": {"cert": {"ca": pem}}}),
        )
        .unwrap()
    };
    assert_eq!(
        with_ca(made.cert.pem())
            .get_bytes("x", None, 9)
            .await
            .unwrap(),
        "hello"
    );
    assert!(matches!(
        with_ca(other.cert.pem()).get_bytes("x", None, 9).await,
        Err(Error::Http { .. })
    ));
    let error = with_ca("not a certificate".to_owned())
        .get_bytes("x", None, 9)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("tls.cert.ca"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let refused = |provider: &str, options: serde_json::Value| {
        Store::open(provider, &options).unwrap_err().to_string()
    };
    assert_eq!(
        refused("floppy", json!({})),
        "unsupported blobstore provider 'floppy'"
    );
    assert!(refused("dav", json!({})).contains("missing field `endpoint`"));
    assert!(refused("dav", json!({"endpoint": "ftp://x"})).contains("endpoint: expected"));
    assert!(
        refused("local", json!({"blobstore_path": "relative"}))
            .contains("blobstore_path: expected an absolute path")
    );
    assert!(refused("local", json!({"blobstore_path": 5})).contains("expected a string"));
}
