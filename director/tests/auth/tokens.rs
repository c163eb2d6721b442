//! Tokens of a UAA at the door. What makes one valid is tested where it is decided.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::{Fixture, Reply, basic};

const KEY: &str = "tokenkey";

async fn fixture() -> Fixture {
    Fixture::with(json!({
        "user_management": {
            "provider": "uaa",
            "uaa": { "url": "https://uaa.example:8443", "symmetric_key": KEY },
        },
    }))
    .await
}

pub(crate) fn token(claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn claims(scopes: &[&str], expires_in: i64) -> Value {
    json!({
        "jti": "1", "user_name": "marissa", "client_id": "bosh_cli", "scope": scopes,
        "exp": OffsetDateTime::now_utc().unix_timestamp() + expires_in,
    })
}

async fn ask(
    fixture: &Fixture,
    method: Method,
    path: &str,
    authorization: &str,
    headers: &[(&str, &str)],
) -> Reply {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, authorization);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    fixture.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_token_is_who_its_claims_say() {
    let fixture = fixture().await;
    let get = |path, authorization: String| {
        let fixture = &fixture;
        async move { ask(fixture, Method::GET, path, &authorization, &[]).await }
    };
    let info = get(
        "/info",
        format!("bearer {}", token(&claims(&["bosh.read"], 60))),
    )
    .await;
    assert_eq!(info.json()["user"], "marissa");
    assert_eq!(
        info.json()["user_authentication"],
        json!({
            "type": "uaa",
            "options": { "url": "https://uaa.example:8443", "urls": ["https://uaa.example:8443"] },
        })
    );
    for (authorization, status) in [
        (
            format!("Bearer {}", token(&claims(&["bosh.read"], 60))),
            StatusCode::OK,
        ),
        (
            format!("bearer {}", token(&claims(&["bosh.read"], -1))),
            StatusCode::UNAUTHORIZED,
        ),
        (
            format!("bearer {}", token(&claims(&["openid"], 60))),
            StatusCode::UNAUTHORIZED,
        ),
        (token(&claims(&["bosh.read"], 60)), StatusCode::UNAUTHORIZED),
        ("bearer".to_owned(), StatusCode::UNAUTHORIZED),
        ("bearer x".to_owned(), StatusCode::UNAUTHORIZED),
        (basic("admin", "secret"), StatusCode::UNAUTHORIZED),
        (basic("admin", "admin"), StatusCode::UNAUTHORIZED),
    ] {
        let reply = get("/locks", authorization.clone()).await;
        assert_eq!(reply.status, status, "{authorization}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_token_may_run_out_while_nginx_receives_an_upload() {
    let fixture = fixture().await;
    let multipart = ("content-type", "multipart/form-data; boundary=b");
    let took = |seconds| ("x-bosh-upload-request-time", seconds);
    for (path, expired, headers, allowed) in [
        ("/stemcells", 50, &[multipart, took("60.123")][..], true),
        ("/releases", 50, &[multipart, took("60")], true),
        ("/releases", 70, &[multipart, took("60")], false),
        ("/releases", 50, &[multipart], false),
        (
            "/releases",
            50,
            &[("content-type", "application/json"), took("60")],
            false,
        ),
        ("/configs", 50, &[multipart, took("60")], false),
        ("/releases", 3590, &[multipart, took("99999")], true),
        ("/releases", 3610, &[multipart, took("99999")], false),
        ("/releases", 50, &[multipart, took("-60")], false),
        ("/releases", 50, &[multipart, took("NaN")], false),
    ] {
        let token = format!("bearer {}", token(&claims(&["bosh.admin"], -expired)));
        let reply = ask(&fixture, Method::POST, path, &token, headers).await;
        assert_eq!(
            reply.status != StatusCode::UNAUTHORIZED,
            allowed,
            "{path} {expired} {headers:?}: {}",
            reply.text
        );
    }
}
