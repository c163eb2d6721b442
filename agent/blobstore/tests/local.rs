//! The directory backend, flat and in the DAV layout.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like tests"
)]

use bosh_blobstore::{Action, Content, Error, Store, digests, id, signing};
use bytes::Bytes;
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

fn flat(dir: &Path) -> Store {
    Store::open(
        "local",
        &json!({"blobstore_path": format!("file://{}", dir.display())}),
    )
    .unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_blob_is_one_file_and_never_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = flat(dir.path());
    let stored = store.put(b"hello".to_vec(), digests::SHA1).await.unwrap();
    assert_eq!(names(dir.path()), [stored.id.as_str()]);
    let again = store
        .put_with_id(stored.id.as_str(), b"other".to_vec(), digests::SHA1)
        .await
        .unwrap_err();
    assert!(matches!(again, Error::AlreadyExists(_)), "{again}");
    assert_eq!(
        store
            .get_bytes(stored.id.as_str(), Some(&stored.digest), 9)
            .await
            .unwrap(),
        "hello"
    );
    assert_eq!(names(dir.path()).len(), 1);

    assert!(store.exists(stored.id.as_str()).await.unwrap());
    store.delete(stored.id.as_str()).await.unwrap();
    store.delete(stored.id.as_str()).await.unwrap();
    assert!(!store.exists(stored.id.as_str()).await.unwrap());
    assert!(matches!(
        store.open_unverified(stored.id.as_str()).await,
        Err(Error::NotFound(_))
    ));
    for bad in ["../x", ".hidden", "a/b", ""] {
        assert!(
            matches!(store.exists(bad).await, Err(Error::InvalidId(_))),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn what_breaks_off_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = flat(dir.path());
    let broken = futures_util::stream::iter([
        Ok(Bytes::from_static(b"half")),
        Err(Error::NotFound("the rest".to_owned())),
    ]);
    let content = Content::Chunks {
        chunks: Box::pin(broken),
        size: Some(8),
    };
    assert!(
        store
            .put_with_id("x", content, digests::SHA1)
            .await
            .is_err()
    );
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn an_embedded_store_lies_as_its_server_serves_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::embedded(
        dir.path().join("store"),
        "https://10.244.0.1:25250",
        "s3cret",
    );
    let stored = store.put(b"hello".to_vec(), digests::SHA1).await.unwrap();
    let object = id::dav_path(stored.id.as_str());
    assert_eq!(
        std::fs::read(dir.path().join("store").join(&object)).unwrap(),
        b"hello"
    );
    assert!(store.signing_enabled());

    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let url = store
        .sign(
            stored.id.as_str(),
            Action::Get,
            now,
            Duration::from_secs(60),
        )
        .await
        .unwrap();
    let (place, query) = url.as_str().split_once('?').unwrap();
    assert_eq!(place, format!("https://10.244.0.1:25250/signed/{object}"));
    let arg = |key: &str| {
        query
            .split('&')
            .find_map(|p| p.strip_prefix(key)?.strip_prefix('='))
            .unwrap()
    };
    assert_eq!(
        signing::verify(
            "s3cret",
            "GET",
            &object,
            arg("st"),
            arg("ts"),
            arg("e"),
            now
        ),
        Ok(())
    );
}
