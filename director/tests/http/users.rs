//! `/users`.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::support::{Fixture, Reply, basic};

async fn ask(
    fixture: &Fixture,
    who: (&str, &str),
    method: Method,
    path: &str,
    body: Value,
) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, basic(who.0, who.1))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    fixture.send(request).await
}

#[tokio::test]
async fn users_are_made_changed_and_deleted() {
    let nobody = json!({ "user_management": { "provider": "local", "local": { "users": [] } } });
    let fixture = Fixture::with(nobody).await;
    let (first, ann) = (("admin", "admin"), ("ann", "pass"));
    let new = json!({ "username": "ann", "password": "pass" });
    let refused = ask(&fixture, ann, Method::GET, "/users", json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);

    let made = ask(&fixture, first, Method::POST, "/users", new.clone()).await;
    assert_eq!(made.status, StatusCode::NO_CONTENT, "{}", made.text);
    // The first user was there only as long as there was no other.
    let refused = ask(&fixture, first, Method::GET, "/users", json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let names = ask(&fixture, ann, Method::GET, "/users", json!({})).await;
    assert_eq!(names.json(), json!(["ann"]));
    let twice = ask(&fixture, ann, Method::POST, "/users", new).await;
    assert_eq!(twice.json()["code"], 20_003);

    let other = json!({ "username": "ann", "password": "other" });
    let changed = ask(&fixture, ann, Method::PUT, "/users/ann", other.clone()).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    let refused = ask(&fixture, ann, Method::GET, "/users", json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let ann = ("ann", "other");
    for (method, path, body, code) in [
        (Method::PUT, "/users/bob", other, 20_001),
        (
            Method::PUT,
            "/users/bob",
            json!({ "username": "bob", "password": "x" }),
            20_000,
        ),
        (Method::DELETE, "/users/bob", json!({}), 20_000),
        (Method::POST, "/users", json!({ "username": "bob" }), 20_002),
        (Method::POST, "/users", json!({ "password": "x" }), 20_002),
        (
            Method::POST,
            "/users",
            json!({ "username": "a:b", "password": "x" }),
            20_002,
        ),
    ] {
        let reply = ask(&fixture, ann, method, path, body).await;
        assert_eq!(reply.json()["code"], code, "{path}: {}", reply.text);
    }
    let events = ask(&fixture, ann, Method::GET, "/events", json!({})).await;
    assert!(!events.text.contains("other"), "{}", events.text);
    let gone = ask(&fixture, ann, Method::DELETE, "/users/ann", json!({})).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let refused = ask(&fixture, ann, Method::GET, "/users", json!({})).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn users_of_the_configuration_are_not_the_apis_to_change() {
    let fixture = Fixture::idle().await;
    let new = json!({ "username": "ann", "password": "pass" });
    let reply = fixture.json(Method::POST, "/users", new).await;
    assert_eq!(reply.json()["code"], 20_004);
}
