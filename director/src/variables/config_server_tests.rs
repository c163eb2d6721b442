//! Against a fake config server with a fake UAA, over TLS.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::*;

/// What the fake remembers.
#[derive(Default)]
struct FakeConfigServer {
    /// name -> versions, the newest last.
    values: HashMap<String, Vec<Value>>,
    tokens: u32,
    /// Answers of a status and a body instead, by name.
    odd: HashMap<String, (u16, String)>,
    posted: Vec<Value>,
}

type Shared = Arc<Mutex<FakeConfigServer>>;

struct Fixture {
    fake: Shared,
    client: ConfigServer,
    stop: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn authorized(fake: &FakeConfigServer, headers: &HeaderMap) -> bool {
    let expected = format!("Bearer token-{}", fake.tokens);
    headers
        .get("authorization")
        .is_some_and(|value| value == expected.as_str())
}

fn answer(
    fake: &FakeConfigServer,
    headers: &HeaderMap,
    name: &str,
    found: Option<Value>,
) -> Response {
    if !authorized(fake, headers) {
        return (
            StatusCode::UNAUTHORIZED,
            Json(json!({ "error": "invalid_token" })),
        )
            .into_response();
    }
    if let Some((status, body)) = fake.odd.get(name) {
        return (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response();
    }
    match found {
        Some(body) => Json(body).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            Json(json!({ "error": "no such name" })),
        )
            .into_response(),
    }
}

fn router(fake: Shared) -> Router {
    async fn token(State(fake): State<Shared>, headers: HeaderMap, body: String) -> Response {
        // director:s3cret
        let right = headers["authorization"] == "Basic ZGlyZWN0b3I6czNjcmV0"
            && body == "grant_type=client_credentials";
        if !right {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let mut fake = fake.lock().unwrap();
        fake.tokens += 1;
        let token = format!("token-{}", fake.tokens);
        Json(json!({ "access_token": token, "token_type": "bearer" })).into_response()
    }
    async fn by_name(
        State(fake): State<Shared>,
        Query(query): Query<HashMap<String, String>>,
        headers: HeaderMap,
    ) -> Response {
        assert_eq!(query["current"], "true");
        let fake = fake.lock().unwrap();
        let newest = fake.values.get(&query["name"]).and_then(|all| all.last());
        let found = newest.map(|value| json!({ "data": [value] }));
        answer(&fake, &headers, &query["name"], found)
    }
    async fn by_id(
        State(fake): State<Shared>,
        Path(id): Path<String>,
        headers: HeaderMap,
    ) -> Response {
        let fake = fake.lock().unwrap();
        let mut all = fake.values.values().flatten();
        let found = all.find(|value| value["id"] == id.as_str()).cloned();
        answer(&fake, &headers, &id, found)
    }
    async fn generate(
        State(fake): State<Shared>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> Response {
        let mut fake = fake.lock().unwrap();
        let name = body["name"].as_str().unwrap().to_owned();
        let versions = fake.values.entry(name.clone()).or_default();
        if versions.is_empty() || body["mode"] == "overwrite" {
            let id = format!("{name}-{}", versions.len() + 1).replace('/', "_");
            versions.push(json!({ "id": id, "name": name, "value": format!("made {id}") }));
        }
        let newest = versions.last().cloned();
        fake.posted.push(body);
        answer(&fake, &headers, &name, newest)
    }
    Router::new()
        .route("/oauth/token", post(token))
        .route("/v1/data", get(by_name).post(generate))
        .route("/v1/data/{id}", get(by_id))
        .with_state(fake)
}

async fn fixture() -> Fixture {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&pair)
        .unwrap();
    let put = |name: &str, text: String| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = put("ca.pem", certificate.pem());
    let tls = crate::nats::server_tls(&config::Tls {
        certificate: ca.clone(),
        private_key: put("key.pem", pair.serialize_pem()),
    })
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (fake, stop) = (Shared::default(), CancellationToken::new());
    let app = router(fake.clone());
    tokio::spawn(crate::listen::serve(listener, Some(tls), app, stop.clone()));
    let client = ConfigServer::new(&config::ConfigServer {
        url: format!("{url}/"),
        ca_cert_path: Some(ca.clone()),
        uaa_url: url,
        uaa_client_id: "director".to_owned(),
        uaa_client_secret: "s3cret".into(),
        uaa_ca_cert_path: Some(ca),
    })
    .unwrap();
    Fixture {
        fake,
        client,
        stop,
        _directory: directory,
    }
}

#[tokio::test]
async fn values_are_made_and_found_again() {
    let fixture = fixture().await;
    let client = &fixture.client;
    assert_eq!(client.latest("/d/p").await.unwrap().map(|v| v.id), None);
    let options = json!({ "length": 9 });
    let Value::Object(options) = options else {
        unreachable!()
    };
    let made = client
        .generate("/d/p", "password", &options, "no-overwrite")
        .await
        .unwrap();
    assert_eq!(
        fixture.fake.lock().unwrap().posted,
        [
            json!({ "name": "/d/p", "type": "password", "parameters": { "length": 9 }, "mode": "no-overwrite" })
        ]
    );
    let again = client
        .generate("/d/p", "password", &Map::new(), "converge")
        .await
        .unwrap();
    assert!(made == again);
    let newer = client
        .generate("/d/p", "password", &Map::new(), "overwrite")
        .await
        .unwrap();
    assert!(newer != made);
    assert!(client.latest("/d/p").await.unwrap().unwrap() == newer);
    assert!(client.by_id("/d/p", &made.id).await.unwrap().unwrap() == made);
    assert!(client.by_id("/d/p", "other").await.unwrap().is_none());
    let names = ["/d/p".to_owned(), "/d/none".to_owned()];
    let loaded = load(client, &names).await.unwrap();
    assert_eq!(loaded.keys().collect::<Vec<_>>(), ["/d/p"]);
    assert_eq!(fixture.fake.lock().unwrap().tokens, 1, "one token for all");
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed() {
    let fixture = fixture().await;
    fixture.client.latest("/d/p").await.unwrap();
    // The server forgets the token that it gave.
    fixture.fake.lock().unwrap().tokens += 1;
    assert!(fixture.client.latest("/d/p").await.unwrap().is_none());
    assert_eq!(fixture.fake.lock().unwrap().tokens, 3);
}

#[tokio::test]
async fn failures_are_told_in_upstreams_words() {
    let fixture = fixture().await;
    for (name, status, body, message) in [
        (
            "/a",
            500,
            json!({ "error": "oh" }).to_string(),
            "HTTP Code '500', Error: 'oh'",
        ),
        ("/b", 200, "nonsense".to_owned(), "Invalid JSON response"),
        (
            "/c",
            200,
            json!({ "data": {} }).to_string(),
            "Expected data to be an array",
        ),
        (
            "/d",
            200,
            json!({ "data": [] }).to_string(),
            "Expected data to be non empty array",
        ),
        (
            "/e",
            200,
            json!({ "data": [{}] }).to_string(),
            "Expected data[0] to have key 'id'",
        ),
        (
            "/f",
            200,
            json!({ "data": [{ "id": "1" }] }).to_string(),
            "Expected data[0] to have key 'value'",
        ),
    ] {
        fixture
            .fake
            .lock()
            .unwrap()
            .odd
            .insert(name.to_owned(), (status, body));
        let error = fixture.client.latest(name).await.unwrap_err();
        let told = format!("Failed to fetch variable '{name}' from config server: {message}");
        assert_eq!(error.to_string(), told);
    }
    let names = ["/a".to_owned(), "/b".to_owned()];
    let error = load(&fixture.client, &names).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "- Failed to fetch variable '/a' from config server: HTTP Code '500', Error: 'oh'\n\
         - Failed to fetch variable '/b' from config server: Invalid JSON response"
    );
    let error = fixture
        .client
        .generate("/a", "rsa", &Map::new(), "converge")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Config Server failed to generate value for '/a' with type 'rsa'. HTTP Code '500', Error: 'oh'"
    );
    // What the log and the user see has no secret.
    assert!(!format!("{:?}", fixture.client).contains("s3cret"));
}
