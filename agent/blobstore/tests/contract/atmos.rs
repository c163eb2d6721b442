//! EMC Atmos, against a fake that checks requests as EMC's Programmer's Guide says. Nobody can install a real one any more.

use super::http;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bosh_blobstore::{
    Error, Store,
    contract::{self, Signs},
};
use ring::hmac;
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::io::AsyncWriteExt;

const UID: &str = "6039ac182f194e15b9261d73ce044939/user1";
const SECRET: &str = "LJLuryj6zs8ste6Y3jTGQp71xq0=";

struct Fake {
    dir: tempfile::TempDir,
    tags: Mutex<HashMap<String, String>>,
}

fn signature(text: &str) -> String {
    let key = STANDARD.decode(SECRET).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

fn is_signed(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let value = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    let mut emc: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-emc-") && *name != "x-emc-signature")
        .map(|(name, value)| format!("{name}:{}", value.to_str().unwrap()))
        .collect();
    emc.sort();
    let (kind, range, date) = (value("content-type"), value("range"), value("date"));
    let path = path.to_lowercase();
    let text = format!(
        "{method}\n{kind}\n{range}\n{date}\n{path}\n{}",
        emc.join("\n")
    );
    value("x-emc-uid") == UID && value("x-emc-signature") == signature(&text)
}

fn is_shared(path: &str, query: &str) -> bool {
    let decode = |text: &str| {
        let text = text.replace("%2F", "/").replace("%2B", "+");
        text.replace("%3D", "=")
    };
    let argument = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found
            .next()
            .map_or(String::new(), |(_, value)| decode(value))
    };
    let (uid, expires) = (argument("uid"), argument("expires"));
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let text = format!("GET\n{}\n{uid}\n{expires}", path.to_lowercase());
    argument("signature") == signature(&text) && expires.parse::<u64>().is_ok_and(|at| at >= now)
}

async fn serve(State(fake): State<Arc<Fake>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let shared =
        parts.method == Method::GET && is_shared(&path, parts.uri.query().unwrap_or_default());
    if !shared && !is_signed(&parts.method, &path, &parts.headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if parts.method == Method::POST && path == "/rest/objects" {
        let partial = tempfile::NamedTempFile::new_in(fake.dir.path()).unwrap();
        let mut file = tokio::fs::File::create(partial.path()).await.unwrap();
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = futures_util::StreamExt::next(&mut chunks).await {
            let chunk: Result<Bytes, _> = chunk;
            match chunk {
                Ok(chunk) => file.write_all(&chunk).await.unwrap(),
                Err(_) => return StatusCode::BAD_REQUEST.into_response(),
            }
        }
        file.flush().await.unwrap();
        // Of several that come at once each gets an id of its own.
        let oid = {
            let mut tags = fake.tags.lock().unwrap();
            let oid = format!("4ee696e4{:036x}", tags.len());
            tags.insert(oid.clone(), String::new());
            oid
        };
        partial.persist(fake.dir.path().join(&oid)).unwrap();
        let tag = parts.headers.get("x-emc-listable-meta");
        let tag = tag.map_or(String::new(), |tag| tag.to_str().unwrap().to_owned());
        fake.tags.lock().unwrap().insert(oid.clone(), tag);
        return (
            StatusCode::CREATED,
            [(header::LOCATION, format!("{path}/{oid}"))],
        )
            .into_response();
    }
    let Some(oid) = path.strip_prefix("/rest/objects/") else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let file = fake.dir.path().join(oid);
    if !file.exists() {
        return StatusCode::NOT_FOUND.into_response();
    }
    match parts.method {
        Method::GET => {
            let file = tokio::fs::File::open(file).await.unwrap();
            Body::from_stream(tokio_util::io::ReaderStream::new(file)).into_response()
        }
        Method::HEAD => StatusCode::OK.into_response(),
        Method::DELETE => {
            std::fs::remove_file(file).unwrap();
            StatusCode::NO_CONTENT.into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

#[tokio::test]
async fn atmos() {
    let http = http();
    let fake = Arc::new(Fake {
        dir: tempfile::tempdir().unwrap(),
        tags: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(fake.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let options = json!({"url": url, "uid": UID, "secret": SECRET, "tag": "rbosh"});
    let store = Store::open("atmos", &options).unwrap();
    contract::holds(&store, Signs::Reading, &http).await;
    assert!(
        fake.tags
            .lock()
            .unwrap()
            .values()
            .all(|tag| tag == "rbosh=true")
    );

    // Who has the id can read without the secret, and nothing else.
    let stored = store.put(b"shared".to_vec(), &[]).await.unwrap();
    let reader = Store::open("atmos", &json!({"url": url, "uid": UID})).unwrap();
    assert_eq!(
        reader
            .get_bytes(stored.id.as_str(), None, 99)
            .await
            .unwrap(),
        "shared"
    );
    let error = reader.put(b"x".to_vec(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::ReadOnly(_)), "{error}");
    assert!(reader.delete(stored.id.as_str()).await.is_err());
}
