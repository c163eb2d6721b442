//! `/configs` and the older endpoints of single types.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Fixture, still};

async fn store(fixture: &Fixture, kind: &str, name: &str, content: &str) -> Value {
    let body = json!({ "type": kind, "name": name, "content": content });
    let reply = fixture.json(Method::POST, "/configs", body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    reply.json()
}

#[tokio::test]
async fn configs_are_versioned() {
    let fixture = Fixture::idle().await;
    let first = store(&fixture, "cloud", "default", "a: 1\n").await;
    insta::assert_json_snapshot!("config", still(first.clone()));
    // The same content again is the same version.
    assert_eq!(
        store(&fixture, "cloud", "default", "a: 1\n").await["id"],
        first["id"]
    );
    let second = store(&fixture, "cloud", "default", "a: 2\n").await;
    assert_ne!(second["id"], first["id"]);
    store(&fixture, "cloud", "other", "b: 1\n").await;
    store(&fixture, "foo", "x", "c: 1\n").await;

    let names = |list: Value| -> Vec<String> {
        let text = |v: &Value, key: &str| v[key].as_str().unwrap().to_owned();
        let list = list.as_array().unwrap().iter();
        list.map(|c| format!("{}/{}/{}", text(c, "type"), text(c, "name"), text(c, "id")))
            .collect()
    };
    let latest = fixture.get("/configs?latest=true").await.json();
    assert_eq!(
        names(latest),
        ["cloud/default/2", "cloud/other/3", "foo/x/4"]
    );
    let all = fixture.get("/configs?latest=false").await.json();
    assert_eq!(all[1]["current"], false);
    assert_eq!(
        names(all),
        [
            "cloud/default/2",
            "cloud/default/1",
            "cloud/other/3",
            "foo/x/4"
        ]
    );
    let some = fixture
        .get("/configs?type=cloud&name=default&limit=1")
        .await
        .json();
    assert_eq!(names(some), ["cloud/default/2"]);
    let old = fixture.get("/configs/1").await.json();
    assert_eq!(
        (old["content"].as_str(), old["current"].as_bool()),
        (Some("a: 1\n"), Some(false))
    );

    assert_eq!(
        fixture.delete("/configs/2").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(fixture.get("/configs/2").await.json()["code"], 440_012);
    assert_eq!(fixture.get("/configs/1").await.json()["current"], true);
    let delete = "/configs?type=cloud&name=default";
    assert_eq!(fixture.delete(delete).await.status, StatusCode::NO_CONTENT);
    assert_eq!(fixture.delete(delete).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        fixture.get("/configs?type=cloud&name=default").await.text,
        "[]"
    );
}

#[tokio::test]
async fn a_config_that_changed_meanwhile_is_not_overwritten() {
    let fixture = Fixture::idle().await;
    store(&fixture, "cloud", "default", "a: 1\n").await;
    let body = |id: &str| json!({ "type": "cloud", "name": "default", "content": "a: 2\n", "expected_latest_id": id });
    let reply = fixture.json(Method::POST, "/configs", body("7")).await;
    assert_eq!(reply.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        reply.json(),
        json!({
            "latest_id": "1",
            "expected_latest_id": "7",
            "description": "Latest Id: '1' does not match expected latest id",
        })
    );
    let reply = fixture.json(Method::POST, "/configs", body("1")).await;
    assert_eq!(reply.status, StatusCode::CREATED);
}

#[tokio::test]
async fn bad_configs_change_nothing() {
    let fixture = Fixture::idle().await;
    for (body, code, description) in [
        ("{".to_owned(), 710_001, "Invalid JSON request body: "),
        ("[]".to_owned(), 440_010, "JSON object expected"),
        (
            json!({ "name": "x", "content": "a: 1" }).to_string(),
            440_010,
            "'type' is required",
        ),
        (
            json!({ "type": 1, "name": "x" }).to_string(),
            440_010,
            "'type' must be a string",
        ),
        (
            json!({ "type": "t", "name": "", "content": "a: 1" }).to_string(),
            440_010,
            "'name' is required",
        ),
        (
            json!({ "type": "t", "name": "n", "content": "[" }).to_string(),
            440_011,
            "Config must be valid YAML: ",
        ),
        (
            json!({ "type": "t", "name": "n", "content": "text" }).to_string(),
            440_011,
            "YAML hash expected",
        ),
    ] {
        let reply = fixture
            .call(Method::POST, "/configs", "application/json", body.clone())
            .await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        let error = reply.json();
        assert_eq!(error["code"], code, "{body}: {error}");
        assert!(
            error["description"]
                .as_str()
                .unwrap()
                .starts_with(description),
            "{error}"
        );
    }
    assert_eq!(fixture.get("/configs?latest=false").await.text, "[]");
    for query in ["limit=0", "limit=x", "latest=maybe"] {
        let reply = fixture.get(&format!("/configs?{query}")).await;
        assert_eq!(reply.json()["code"], 440_010, "{query}");
    }
}

#[tokio::test]
async fn old_endpoints_see_the_same_configs() {
    let fixture = Fixture::idle().await;
    for (path, kind) in [
        ("/cloud_configs", "cloud"),
        ("/runtime_configs", "runtime"),
        ("/cpi_configs", "cpi"),
    ] {
        let reply = fixture.yaml(Method::POST, path, "--- {a: 1}\n").await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
        let reply = fixture.yaml(Method::POST, path, "--- {a: 1}\n").await;
        assert_eq!(reply.status, StatusCode::CREATED);
        let list = fixture.get(&format!("{path}?limit=5")).await.json();
        assert_eq!(list.as_array().unwrap().len(), 1, "{path}");
        assert!(list[0]["created_at"].as_str().unwrap().ends_with(" UTC"));
        let configs = fixture.get(&format!("/configs?type={kind}")).await.json();
        assert_eq!(configs[0]["content"], list[0]["properties"]);
        assert_eq!(fixture.get(path).await.text, "limit is required");
        assert_eq!(
            fixture.get(&format!("{path}?limit=x")).await.text,
            "limit is invalid: 'x' is not an integer"
        );
        let reply = fixture.yaml(Method::POST, path, "").await;
        assert_eq!(reply.json()["code"], 440_001);
        assert_eq!(reply.json()["description"], "Manifest should not be empty");
        let reply = fixture.yaml(Method::POST, path, "text").await;
        assert_eq!(reply.json()["description"], "Manifest should be a hash");
    }
    // Versions of releases in runtime configs are text, whatever YAML makes of them.
    fixture
        .yaml(
            Method::POST,
            "/runtime_configs",
            "releases: [{name: r, version: 7}]",
        )
        .await;
    let list = fixture.get("/runtime_configs?limit=1").await.json();
    let content = list[0]["properties"].as_str().unwrap();
    assert!(content.contains("version: '7'"), "{content}");
}
