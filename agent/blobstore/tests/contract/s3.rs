//! S3, against a server that keeps objects in a directory and checks signatures, those of URLs and their times too.

use super::http;
use axum::Router;
use bosh_blobstore::{
    Store,
    contract::{self, Signs},
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use serde_json::{Value, json};

/// A server with a bucket, and the options to reach it.
async fn server(dir: &std::path::Path) -> Value {
    std::fs::create_dir(dir.join("blobs")).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir).unwrap());
    builder.set_auth(SimpleAuth::from_single("AKIDTEST", "s3cret"));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = Router::new().fallback_service(tower::service_fn(
        move |request: axum::extract::Request| {
            let service = service.clone();
            async move {
                let reply = service.call(request.map(s3s::Body::http_body_unsync)).await;
                let reply = reply.unwrap().map(axum::body::Body::new);
                Ok::<_, std::convert::Infallible>(reply)
            }
        },
    ));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    json!({
        "bucket_name": "blobs", "credentials_source": "static", "access_key_id": "AKIDTEST",
        "secret_access_key": "s3cret", "host": "127.0.0.1", "port": port, "use_ssl": false, "region": "eu-central-1",
        "enable_signed_urls": true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn s3() {
    let dir = tempfile::tempdir().unwrap();
    let http = http();
    let options = server(dir.path()).await;
    let store = Store::open("s3cli", &options).unwrap();
    assert!(store.signing_enabled() && store.headers().is_empty());
    contract::holds(&store, Signs::Both, &http).await;

    let mut wrong = options.clone();
    wrong["secret_access_key"] = json!("guessed");
    let wrong = Store::open("s3", &wrong).unwrap();
    assert!(
        wrong.put(b"x".to_vec(), &[]).await.is_err(),
        "a wrong secret is refused"
    );
    let mut none = options;
    none["folder_name"] = json!("folder");
    let folder = Store::open("s3", &none).unwrap();
    let stored = folder.put(b"x".to_vec(), &[]).await.unwrap();
    assert!(
        dir.path()
            .join("blobs/folder")
            .join(stored.id.as_str())
            .exists()
    );
    for key in ["access_key_id", "secret_access_key", "credentials_source"] {
        none.as_object_mut().unwrap().remove(key);
    }
    let none = Store::open("s3", &none).unwrap();
    assert!(
        none.open_unverified(stored.id.as_str()).await.is_err(),
        "nobody may read"
    );
    let unsigned = none
        .sign(
            "x",
            bosh_blobstore::Action::Get,
            std::time::SystemTime::now(),
            std::time::Duration::from_secs(9),
        )
        .await;
    assert!(unsigned.is_err());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (options, key) in [
        (json!({"access_key_id": "a"}), "bucket_name"),
        (
            json!({"bucket_name": "b", "credentials_source": "static"}),
            "access_key_id",
        ),
        (
            json!({"bucket_name": "b", "credentials_source": "magic"}),
            "credentials_source",
        ),
        (
            json!({"bucket_name": "b", "access_key_id": "a", "secret_access_key": "s", "credentials_source": "none"}),
            "credentials_source",
        ),
        (
            json!({"bucket_name": "b", "signature_version": 2}),
            "signature_version",
        ),
        (
            json!({"bucket_name": "b", "assume_role_arn": "arn:x"}),
            "assume_role_arn",
        ),
    ] {
        let error = Store::open("s3", &options).unwrap_err().to_string();
        assert!(error.contains(key), "{options}: {error}");
    }
}
