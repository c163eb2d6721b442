//! What holds for all endpoints.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::json;

use crate::support::{Fixture, basic, still};

fn request(path: &str, authorization: Option<String>) -> Request<Body> {
    let mut builder = Request::builder().uri(path);
    if let Some(value) = authorization {
        builder = builder.header(header::AUTHORIZATION, value);
    }
    builder.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn info_needs_no_password() {
    let fixture = Fixture::idle().await;
    let reply = fixture.send(request("/info", None)).await;
    assert_eq!(reply.status, StatusCode::OK);
    insta::assert_json_snapshot!("info", reply.json());
    let reply = fixture.get("/info").await;
    assert_eq!(reply.json()["user"], "admin");
}

#[tokio::test]
async fn everything_else_does() {
    let fixture = Fixture::idle().await;
    for authorization in [
        None,
        Some(basic("admin", "wrong")),
        Some(basic("admin", "")),
        Some(basic("nobody", "secret")),
        Some("Basic !".to_owned()),
        Some("Bearer token".to_owned()),
    ] {
        for path in ["/deployments", "/tasks/1", "/nowhere"] {
            let reply = fixture.send(request(path, authorization.clone())).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{authorization:?}");
            assert_eq!(
                reply.headers[header::WWW_AUTHENTICATE],
                "Basic realm=\"BOSH Director\""
            );
            assert_eq!(reply.text, format!("Not authorized: '{path}'\n"));
        }
    }
}

#[tokio::test]
async fn readers_may_only_read() {
    let fixture = Fixture::idle().await;
    let reader = || Some(basic("reader", "read"));
    let reply = fixture.send(request("/deployments", reader())).await;
    assert_eq!((reply.status, reply.text.as_str()), (StatusCode::OK, "[]"));
    let reply = fixture.send(request("/disks", reader())).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        reply.json(),
        json!({
            "code": 600_000,
            "description": "Require one of the scopes: bosh.admin, \
                            bosh.2b7e7d0e-0000-4000-8000-000000000000.admin",
        })
    );
}

#[tokio::test]
async fn there_is_no_other_endpoint() {
    let fixture = Fixture::idle().await;
    for (method, path, media) in [
        (Method::GET, "/nowhere", ""),
        (Method::POST, "/locks", ""),
        // The wrong content type is as good as the wrong path.
        (Method::POST, "/deployments", "application/json"),
        (Method::POST, "/releases", "text/plain"),
        (Method::POST, "/configs", "text/yaml"),
    ] {
        let reply = fixture.call(method, path, media, "{}").await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(reply.text, format!("Endpoint '{path}' not found."));
    }
}

#[tokio::test]
async fn long_context_ids_are_refused() {
    let fixture = Fixture::idle().await;
    let request = Request::builder()
        .uri("/tasks")
        .header(header::AUTHORIZATION, basic("admin", "secret"))
        .header("X-Bosh-Context-Id", "x".repeat(65))
        .body(Body::empty())
        .unwrap();
    let reply = fixture.send(request).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json()["code"], 70010);
}

#[tokio::test]
async fn events_are_recorded_and_found_again() {
    let fixture = Fixture::idle().await;
    let event = json!({
        "timestamp": 1_440_318_199, "action": "create", "object_type": "alert",
        "object_name": "a1", "deployment": "d", "instance": "web/0", "error": "bad",
        "context": { "message": "oh" },
    });
    let reply = fixture.json(Method::POST, "/events", event).await;
    assert_eq!(reply.status, StatusCode::OK);
    let other = json!({ "action": "delete", "object_type": "vm", "object_name": "v" });
    fixture.json(Method::POST, "/events", other).await;

    let all = fixture.get("/events").await.json();
    assert_eq!(all[1]["timestamp"], 1_440_318_199);
    insta::assert_json_snapshot!("events", still(all));
    for (query, count) in [
        ("action=delete", 1),
        ("deployment=d&object_type=alert", 1),
        ("deployment=other", 0),
        ("before_id=2", 1),
        ("before_time=1440318200", 1),
        ("after_time=1440318199", 1),
        ("after_time=2015-08-23+08:23:18+UTC", 2),
    ] {
        let found = fixture.get(&format!("/events?{query}")).await.json();
        assert_eq!(found.as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(fixture.get("/events/1").await.json()["object_name"], "a1");
    let reply = fixture.get("/events/77").await;
    assert_eq!(
        (reply.status, reply.text.as_str()),
        (StatusCode::NOT_FOUND, "Event not found")
    );
    let reply = fixture.get("/events?before_time=soon").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.text, "Invalid before parameter: 'soon' ");
    let reply = fixture
        .json(Method::POST, "/events", json!({ "action": "x" }))
        .await;
    assert_eq!(reply.json()["code"], 40000);
}

#[tokio::test]
async fn resurrection_is_paused_and_resumed() {
    let fixture = Fixture::idle().await;
    assert_eq!(
        fixture.get("/resurrection").await.json(),
        json!({ "resurrection": true })
    );
    for paused in [true, false, true] {
        let body = json!({ "resurrection_paused": paused });
        let reply = fixture.json(Method::PUT, "/resurrection", body).await;
        assert_eq!(reply.status, StatusCode::OK);
        let state = fixture.get("/resurrection").await.json();
        assert_eq!(state, json!({ "resurrection": !paused }));
    }
}
