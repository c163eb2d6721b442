//! Uploads of releases, good and bad ones, and what becomes of them.

use std::collections::HashSet;

use axum::http::{Method, StatusCode};
use bosh_director::db;
use serde_json::json;

use crate::archives::{Release, sha1, tgz};
use crate::support::{Fixture, Reply, still};

async fn upload(fixture: &Fixture, query: &str, archive: Vec<u8>) -> Reply {
    let path = format!("/releases?{query}");
    fixture
        .call(Method::POST, &path, "application/x-compressed", archive)
        .await
}

#[tokio::test]
async fn a_release_is_taken_in() {
    let fixture = Fixture::new().await;
    let reply = upload(&fixture, "", Release::new("1").pack()).await;
    assert_eq!(fixture.done(&reply).await, "Created release 'shop/1'");
    insta::assert_json_snapshot!("releases", fixture.get("/releases").await.json());
    insta::assert_json_snapshot!("release", still(fixture.get("/releases/shop").await.json()));
    let inspected = fixture.get("/releases/shop?version=1").await.json();
    insta::assert_json_snapshot!("inspected_release", still(inspected.clone()));
    assert_eq!(fixture.blobs(), 3);
    let blob = inspected["jobs"][0]["blobstore_id"].as_str().unwrap();
    let reply = fixture.get(&format!("/resources/{blob}x")).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.json()["code"], 100_002);

    let events = fixture.get("/tasks/1/output?type=event").await.text;
    let mut seen = HashSet::new();
    let stages: Vec<String> = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["stage"].as_str().unwrap().to_owned())
        .filter(|stage| seen.insert(stage.clone()))
        .collect();
    assert_eq!(
        stages,
        [
            "Extracting release",
            "Verifying manifest",
            "Resolving package dependencies",
            "Creating new packages",
            "Creating new jobs",
            "Release has been created"
        ]
    );
    fixture.is_tidy().await;
}

#[tokio::test]
async fn the_same_again_changes_nothing() {
    let fixture = Fixture::new().await;
    let archive = Release::new("1").pack();
    for query in ["", "", "fix=true"] {
        let reply = upload(&fixture, query, archive.clone()).await;
        assert_eq!(
            fixture.done(&reply).await,
            "Created release 'shop/1'",
            "{query}"
        );
        assert_eq!(fixture.blobs(), 3, "{query}");
    }
    // Another version shares what is the same.
    let reply = upload(&fixture, "", Release::new("2").pack()).await;
    fixture.done(&reply).await;
    assert_eq!(fixture.blobs(), 3);
    let releases = fixture.get("/releases").await.json();
    assert_eq!(releases[0]["release_versions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn fixing_replaces_lost_blobs() {
    let fixture = Fixture::new().await;
    let archive = Release::new("1").pack();
    fixture
        .done(&upload(&fixture, "", archive.clone()).await)
        .await;
    std::fs::remove_dir_all(fixture.path().join("blobs")).unwrap();
    std::fs::create_dir(fixture.path().join("blobs")).unwrap();
    fixture
        .done(&upload(&fixture, "fix=true", archive).await)
        .await;
    assert_eq!(fixture.blobs(), 3);
    let inspected = fixture.get("/releases/shop?version=1").await.json();
    for blob in [
        &inspected["jobs"][0],
        &inspected["packages"][0],
        &inspected["packages"][1],
    ] {
        let id = blob["blobstore_id"].as_str().unwrap();
        assert!(fixture.director.blobstore.exists(id).await.unwrap());
    }
}

#[tokio::test]
async fn rebasing_counts_versions_on() {
    let fixture = Fixture::new().await;
    for expected in ["1+dev.1", "1+dev.2"] {
        let reply = upload(&fixture, "rebase=true", Release::new("1+dev.9").pack()).await;
        assert_eq!(
            fixture.done(&reply).await,
            format!("Created release 'shop/{expected}'")
        );
    }
    let reply = upload(&fixture, "rebase=true", Release::new("2").pack()).await;
    assert_eq!(fixture.failed(&reply).await.0, 30010);
}

/// Every way to spoil a release gives its own error and leaves nothing behind.
#[tokio::test]
async fn bad_releases_are_refused_whole() {
    let fixture = Fixture::new().await;
    let release = Release::new;
    let spoil = |path: &str, data: Option<&[u8]>| Release {
        files: vec![(path.to_owned(), data.map(<[u8]>::to_vec))],
        ..release("1")
    };
    let other = tgz(&[("packaging", b"other")]);
    let leads_out = tgz(&[("../../etc/cron.d/x", b"x")]);
    let with_digest = |archive: &[u8]| {
        let digest = sha1(archive);
        let app = sha1(&tgz(&[
            ("packaging", b"make".as_slice()),
            ("src/app.c", b"int main;"),
        ]));
        Release {
            manifest: Box::new(move |manifest| manifest.replace(&app, &digest)),
            ..spoil("./packages/app.tgz", Some(archive))
        }
    };
    let with_job = |spec: &str| Release {
        job_spec: spec.to_owned(),
        ..release("1")
    };
    let cases: Vec<(Vec<u8>, u64, &str)> = vec![
        (
            b"no archive".to_vec(),
            30002,
            "Extracting release archive failed",
        ),
        (tgz(&[("other", b"")]), 30003, "Release manifest not found"),
        (
            spoil("./../evil", Some(b"x")).pack(),
            30002,
            "the path './../evil' leads out of the archive",
        ),
        (
            spoil("/etc/evil", Some(b"x")).pack(),
            30002,
            "the path '/etc/evil' leads out",
        ),
        (
            spoil("./release.MF", Some(b"[")).pack(),
            30002,
            "release.MF is not usable",
        ),
        (
            spoil("./packages/app.tgz", None).pack(),
            60000,
            "package 'app/a1': packages/app.tgz is missing from the release archive",
        ),
        (
            spoil("./jobs/web.tgz", None).pack(),
            80000,
            "job 'web/w1': jobs/web.tgz is missing from the release archive",
        ),
        (
            spoil("./packages/app.tgz", Some(&other)).pack(),
            30015,
            "package 'app/a1': ",
        ),
        (
            spoil("./jobs/web.tgz", Some(&other)).pack(),
            30015,
            "job 'web/w1': ",
        ),
        (
            with_digest(b"garbage").pack(),
            60000,
            "Extracting package 'app/a1' archive failed",
        ),
        (
            with_digest(&leads_out).pack(),
            60000,
            "the path '../../etc/cron.d/x' leads out of the archive",
        ),
        (
            with_job("{name: other}").pack(),
            80016,
            "Inconsistent name for job 'web'",
        ),
        (
            with_job("{name: web, templates: {absent.erb: bin/x}}").pack(),
            80002,
            "Missing template file 'absent.erb' for job 'web'",
        ),
        (
            with_job("{name: web, provides: [{name: a}]}").pack(),
            80013,
            "Job 'web': each item in the provides section",
        ),
        (
            Release {
                job_files: Vec::new(),
                ..with_job("{name: web}")
            }
            .pack(),
            80004,
            "Job 'web' is missing monit file",
        ),
    ];
    for (archive, code, message) in cases {
        let reply = upload(&fixture, "", archive).await;
        let error = fixture.failed(&reply).await;
        assert_eq!(error.0, code, "{error:?}");
        assert!(error.1.contains(message), "{error:?} has no {message:?}");
        assert_eq!(fixture.get("/releases").await.text, "[]", "{message}");
        // A blob was once seen just after the task's end; why it was still there is not known yet.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while fixture.blobs() > 0 && std::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(fixture.blobs(), 0, "{message}");
        fixture.is_tidy().await;
    }
    // And after all that, the good one goes in.
    fixture
        .done(&upload(&fixture, "", release("1").pack()).await)
        .await;
}

#[tokio::test]
async fn archives_are_checked_against_the_digest_that_came_along() {
    let fixture = Fixture::new().await;
    let archive = Release::new("1").pack();
    let wrong = format!("sha1={}", sha1(b"other"));
    let error = fixture
        .failed(&upload(&fixture, &wrong, archive.clone()).await)
        .await;
    assert_eq!(error.0, 30015);
    let right = format!("sha1={}", sha1(&archive));
    fixture.done(&upload(&fixture, &right, archive).await).await;
}

#[tokio::test]
async fn another_commit_of_the_same_version_is_refused() {
    let fixture = Fixture::new().await;
    fixture
        .done(&upload(&fixture, "", Release::new("1").pack()).await)
        .await;
    let other = Release {
        manifest: Box::new(|manifest| manifest.replace("abc123", "def456")),
        ..Release::new("1")
    };
    let error = fixture
        .failed(&upload(&fixture, "", other.pack()).await)
        .await;
    assert_eq!(
        error,
        (
            30014,
            "release 'shop/1' has already been uploaded with commit_hash as 'abc123' and \
             uncommitted_changes as 'false'"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn what_is_here_need_not_be_sent() {
    let fixture = Fixture::new().await;
    fixture
        .done(&upload(&fixture, "", Release::new("1").pack()).await)
        .await;
    let manifest = "name: shop\nversion: 2\npackages:\n- {name: app, fingerprint: a1}\n\
                    - {name: lib, fingerprint: l2}\n- {name: other}\n";
    let reply = fixture
        .yaml(Method::POST, "/packages/matches", manifest)
        .await;
    assert_eq!(reply.json(), json!(["a1"]));
    let reply = fixture
        .yaml(Method::POST, "/packages/matches", "name: shop")
        .await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json()["code"], 440_001);
    // The archive without that package is complete all the same, even for another release.
    let lean = Release {
        files: vec![("./packages/app.tgz".to_owned(), None)],
        manifest: Box::new(|manifest| manifest.replace("name: shop", "name: other")),
        ..Release::new("2")
    };
    let reply = upload(&fixture, "", lean.pack()).await;
    assert_eq!(fixture.done(&reply).await, "Created release 'other/2'");
    fixture.done(&fixture.delete("/releases/shop").await).await;
    let left = fixture.get("/releases/other?version=2").await.json();
    let blob = left["packages"][0]["blobstore_id"].as_str().unwrap();
    assert!(
        fixture.director.blobstore.exists(blob).await.unwrap(),
        "the copy went with the original"
    );
}

#[tokio::test]
async fn releases_are_deleted_unless_in_use() {
    let fixture = Fixture::new().await;
    for version in ["1", "2"] {
        fixture
            .done(&upload(&fixture, "", Release::new(version).pack()).await)
            .await;
    }
    let db = &fixture.director.db;
    let deployment = db::deployments::find_or_create(db, "prod").await.unwrap();
    let used = db::releases::find_version(db, "shop", "2")
        .await
        .unwrap()
        .unwrap();
    db::deployments::set_release_versions(db, deployment.id, &[used.id])
        .await
        .unwrap();

    let reply = fixture.delete("/releases/shop?version=2").await;
    assert_eq!(
        fixture.failed(&reply).await,
        (
            30008,
            "ReleaseVersion 'shop/2' is still in use by: prod".to_owned()
        )
    );
    let reply = fixture.delete("/releases/shop").await;
    assert_eq!(
        fixture.failed(&reply).await,
        (30007, "Release 'shop' is still in use by: prod".to_owned())
    );
    let reply = fixture.delete("/releases/shop?version=3").await;
    assert_eq!(fixture.failed(&reply).await.0, 30006);
    let reply = fixture.delete("/releases/shop?version=1").await;
    assert_eq!(fixture.done(&reply).await, "/release/shop");
    assert_eq!(fixture.blobs(), 3);
    db::deployments::set_release_versions(db, deployment.id, &[])
        .await
        .unwrap();
    fixture.done(&fixture.delete("/releases/shop").await).await;
    assert_eq!(fixture.blobs(), 0);
    assert_eq!(fixture.get("/releases").await.text, "[]");
}

#[tokio::test]
async fn compiled_releases_bring_their_packages() {
    let fixture = Fixture::new().await;
    let compiled = |version: &str| Release {
        manifest: Box::new(|manifest| {
            manifest
                .replace("packages:\n", "compiled_packages:\n")
                .replace(
                    "dependencies: [",
                    "stemcell: ubuntu-noble/1.5, dependencies: [",
                )
        }),
        files: vec![
            (
                "./compiled_packages/app.tgz".to_owned(),
                Some(source("app")),
            ),
            (
                "./compiled_packages/lib.tgz".to_owned(),
                Some(source("lib")),
            ),
        ],
        ..Release::new(version)
    };
    fn source(name: &str) -> Vec<u8> {
        match name {
            "app" => tgz(&[
                ("packaging", b"make".as_slice()),
                ("src/app.c", b"int main;"),
            ]),
            _ => tgz(&[("packaging", b"make lib".as_slice())]),
        }
    }
    let reply = upload(&fixture, "", compiled("1").pack()).await;
    assert_eq!(fixture.done(&reply).await, "Created release 'shop/1'");
    let inspected = fixture.get("/releases/shop?version=1").await.json();
    insta::assert_json_snapshot!("inspected_compiled_release", still(inspected));
    assert_eq!(fixture.blobs(), 3);

    let manifest = "name: shop\nversion: 2\ncompiled_packages:\n\
        - {name: app, version: a1, fingerprint: a1, stemcell: ubuntu-noble/1.5, dependencies: [lib]}\n\
        - {name: lib, version: l1, fingerprint: l1, stemcell: ubuntu-noble/1.6, dependencies: []}\n";
    let reply = fixture
        .yaml(Method::POST, "/packages/matches_compiled", manifest)
        .await;
    assert_eq!(reply.json(), json!(["a1"]));

    // Its source comes later and stays beside it.
    fixture
        .done(&upload(&fixture, "", Release::new("1").pack()).await)
        .await;
    let inspected = fixture.get("/releases/shop?version=1").await.json();
    assert!(inspected["packages"][0]["blobstore_id"].is_string());
    assert_eq!(
        inspected["packages"][0]["compiled_packages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(fixture.blobs(), 5);
    fixture.done(&fixture.delete("/releases/shop").await).await;
    assert_eq!(fixture.blobs(), 0);
}

#[tokio::test]
async fn releases_come_from_addresses_too() {
    let fixture = Fixture::new().await;
    let archive = Release::new("1").pack();
    let digest = sha1(&archive);
    let served = axum::Router::new().route(
        "/shop.tgz",
        axum::routing::get(move || std::future::ready(archive.clone())),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, served).await });

    let body =
        |path: &str| json!({ "location": format!("http://{address}{path}"), "sha1": digest });
    let reply = fixture
        .json(Method::POST, "/releases", body("/shop.tgz"))
        .await;
    assert_eq!(fixture.done(&reply).await, "Created release 'shop/1'");
    let reply = fixture
        .json(Method::POST, "/releases", body("/absent.tgz"))
        .await;
    assert_eq!(
        fixture.failed(&reply).await,
        (
            100_002,
            format!("No release found at 'http://{address}/absent.tgz'.")
        )
    );
    let reply = fixture
        .json(Method::POST, "/releases?sha1=x", body("/shop.tgz"))
        .await;
    assert_eq!(reply.text, "Sha1 provided in multiple places");
}
