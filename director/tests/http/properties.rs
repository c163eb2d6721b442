//! `/deployments/NAME/properties`.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::deployments::deployment;
use crate::support::Fixture;

const LIST: &str = "/deployments/prod/properties";

#[tokio::test]
async fn properties_are_made_changed_and_deleted() {
    let fixture = Fixture::idle().await;
    deployment(&fixture.director.db).await;
    assert_eq!(fixture.get(LIST).await.text, "[]");

    let new = json!({ "name": "web.port", "value": 80 });
    let reply = fixture.json(Method::POST, LIST, new.clone()).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let twice = fixture.json(Method::POST, LIST, new).await;
    let error = "Property 'web.port' already exists for deployment 'prod'";
    assert_eq!(
        twice.json(),
        json!({ "code": 110_001, "description": error })
    );
    let shown = json!([{ "name": "web.port", "value": "80" }]);
    assert_eq!(fixture.get(LIST).await.json(), shown);

    let one = format!("{LIST}/web.port");
    let change = json!({ "value": "8080" });
    let reply = fixture.json(Method::PUT, &one, change.clone()).await;
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    assert_eq!(fixture.get(&one).await.json(), json!({ "value": "8080" }));

    assert_eq!(fixture.delete(&one).await.status, StatusCode::NO_CONTENT);
    for reply in [
        fixture.get(&one).await,
        fixture.delete(&one).await,
        fixture.json(Method::PUT, &one, change).await,
    ] {
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        let error = "Property 'web.port' not found for deployment 'prod'";
        assert_eq!(
            reply.json(),
            json!({ "code": 110_003, "description": error })
        );
    }
}

#[tokio::test]
async fn properties_without_name_or_value_are_refused() {
    let fixture = Fixture::idle().await;
    deployment(&fixture.director.db).await;
    for body in [
        json!({}),
        json!({ "name": "a" }),
        json!({ "name": " ", "value": "b" }),
        json!([]),
    ] {
        let reply = fixture.json(Method::POST, LIST, body.clone()).await;
        assert_eq!(reply.json()["code"], 110_002, "{body}: {}", reply.text);
    }
    assert_eq!(fixture.get(LIST).await.text, "[]");
    let absent = fixture.get("/deployments/absent/properties").await;
    assert_eq!(absent.json()["code"], 70_000);
}
