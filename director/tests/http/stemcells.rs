//! Uploads of stemcells through a small CPI.

use axum::http::{Method, StatusCode};
use bosh_director::db;
use serde_json::json;

use crate::archives::{sha1, tgz};
use crate::support::{Fixture, Reply};

fn stemcell(version: &str, image: &[u8], more: &str) -> Vec<u8> {
    let manifest = format!(
        "name: bosh-warden-test\nversion: '{version}'\nbosh_protocol: 1\napi_version: 3\nsha1: {}\n\
         operating_system: ubuntu-noble\ncloud_properties: {{infrastructure: warden}}\n{more}",
        sha1(image)
    );
    tgz(&[
        ("stemcell.MF", manifest.as_bytes()),
        ("image", image),
        ("packages.txt", b""),
    ])
}

async fn upload(fixture: &Fixture, query: &str, archive: Vec<u8>) -> Reply {
    let path = format!("/stemcells?{query}");
    fixture
        .call(Method::POST, &path, "application/x-compressed", archive)
        .await
}

async fn is_needed(fixture: &Fixture, version: &str) -> bool {
    let body = json!({ "stemcell": { "name": "bosh-warden-test", "version": version } });
    let reply = fixture.json(Method::POST, "/stemcell_uploads", body).await;
    reply.json()["needed"].as_bool().unwrap()
}

#[tokio::test]
async fn a_stemcell_is_handed_to_the_cpi_once() {
    let fixture = Fixture::new().await;
    assert!(is_needed(&fixture, "1.2").await);
    let archive = stemcell("1.2", b"one", "stemcell_formats: [warden-tar]");
    let reply = upload(&fixture, "", archive.clone()).await;
    assert_eq!(
        fixture.done(&reply).await,
        "/stemcells/bosh-warden-test/1.2"
    );
    assert!(!is_needed(&fixture, "1.2").await);
    insta::assert_json_snapshot!("stemcells", fixture.get("/stemcells").await.json());

    let reply = upload(&fixture, "", archive.clone()).await;
    fixture.done(&reply).await;
    let events = fixture
        .get(&format!("{}/output?type=event", reply.location()))
        .await
        .text;
    assert!(events.contains("(already exists, skipped)"), "{events}");
    fixture
        .done(&upload(&fixture, "fix=true", archive).await)
        .await;
    let calls = std::fs::read_to_string(fixture.path().join("cpi.calls")).unwrap();
    assert_eq!(calls.matches("\"method\":\"create_stemcell\"").count(), 2);
    assert!(calls.contains("\"infrastructure\":\"warden\""), "{calls}");
    fixture.is_tidy().await;
}

#[tokio::test]
async fn bad_stemcells_are_refused_whole() {
    let fixture = Fixture::new().await;
    let image = b"one";
    let wrong = String::from_utf8_lossy(b"sha1: x").into_owned();
    for (archive, code, message) in [
        (
            b"no archive".to_vec(),
            50000,
            "Extracting stemcell archive failed",
        ),
        (tgz(&[("image", image)]), 50000, "stemcell.MF is missing"),
        (
            tgz(&[("stemcell.MF", b"[]"), ("image", image)]),
            40000,
            "Hash",
        ),
        (
            tgz(&[("stemcell.MF", b"name: x"), ("image", image)]),
            40001,
            "'version'",
        ),
        (
            tgz(&[(
                "stemcell.MF",
                format!("name: x\nversion: '1'\n{wrong}\n").as_bytes(),
            )]),
            50001,
            "Stemcell image not found",
        ),
        (
            tgz(&[
                (
                    "stemcell.MF",
                    b"name: x\nversion: '1'\nsha1: da39a3ee5e6b4b0d3255bfef95601890afd80709\n",
                ),
                ("image", image),
            ]),
            50007,
            "Stemcell image: ",
        ),
        (stemcell("1", b"bad", ""), 100, "bad image"),
        (
            stemcell("1", image, "stemcell_formats: [aws-ami]"),
            50008,
            "aws-ami",
        ),
        (
            tgz(&[("../x", b"")]),
            50000,
            "the path '../x' leads out of the archive",
        ),
    ] {
        let error = fixture.failed(&upload(&fixture, "", archive).await).await;
        assert_eq!(error.0, code, "{error:?}");
        assert!(error.1.contains(message), "{error:?} has no {message:?}");
        assert_eq!(fixture.get("/stemcells").await.text, "[]");
        fixture.is_tidy().await;
    }
    let reply = fixture
        .json(Method::POST, "/stemcell_uploads", json!({ "stemcell": {} }))
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        reply.json(),
        json!({ "code": 40001, "description": "Missing 'name' field" })
    );
}

#[tokio::test]
async fn stemcells_are_deleted_unless_in_use() {
    let fixture = Fixture::new().await;
    fixture
        .done(&upload(&fixture, "", stemcell("1", b"one", "")).await)
        .await;
    let db = &fixture.director.db;
    let deployment = db::deployments::find_or_create(db, "prod").await.unwrap();
    let id = db::stemcells::list(db).await.unwrap()[0].id;
    db::deployments::set_stemcells(db, deployment.id, &[id])
        .await
        .unwrap();
    let path = "/stemcells/bosh-warden-test/1";
    assert_eq!(
        fixture.failed(&fixture.delete(path).await).await,
        (
            50004,
            "Stemcell 'bosh-warden-test/1' is still in use by: prod".to_owned()
        )
    );
    db::deployments::set_stemcells(db, deployment.id, &[])
        .await
        .unwrap();
    assert_eq!(
        fixture.done(&fixture.delete(path).await).await,
        "/stemcells/bosh-warden-test/1"
    );
    let calls = std::fs::read_to_string(fixture.path().join("cpi.calls")).unwrap();
    assert!(
        calls.contains("\"method\":\"delete_stemcell\",\"arguments\":[\"image-one\"]"),
        "{calls}"
    );
    assert!(is_needed(&fixture, "1").await);
    let absent = fixture.delete(path).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    assert_eq!(absent.json()["code"], 50_003);
}

#[tokio::test]
async fn clean_up_keeps_the_newest_unless_told_otherwise() {
    let fixture = Fixture::new().await;
    for version in ["1.9", "1.10", "2"] {
        let image = version.as_bytes();
        fixture
            .done(&upload(&fixture, "", stemcell(version, image, "")).await)
            .await;
    }
    let versions = |reply: Reply| -> Vec<String> {
        let list = reply.json();
        list.as_array()
            .unwrap()
            .iter()
            .map(|s| s["version"].as_str().unwrap().to_owned())
            .collect()
    };
    let preview = fixture.get("/cleanup/dryrun?remove_all=false").await.json();
    assert_eq!(preview["stemcells"][0]["version"], "1.9");
    assert_eq!(preview["stemcells"].as_array().unwrap().len(), 1);
    let body = |all: bool| json!({ "config": { "remove_all": all } });
    let reply = fixture.json(Method::POST, "/cleanup", body(false)).await;
    let result = fixture.done(&reply).await;
    assert!(
        result.starts_with("Deleted 0 release(s), 1 stemcell(s), "),
        "{result}"
    );
    assert_eq!(versions(fixture.get("/stemcells").await), ["1.10", "2"]);
    fixture
        .done(&fixture.json(Method::POST, "/cleanup", body(true)).await)
        .await;
    assert_eq!(fixture.get("/stemcells").await.text, "[]");
}
