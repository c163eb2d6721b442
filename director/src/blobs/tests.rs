//! With the blobstore client that agents and directors use, over TLS.

use std::time::{Duration, SystemTime};

use bosh_blobstore::{Action, Error, Store};
use bosh_protocol::digest::Algorithm;
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Tls;
use crate::nats::pki::Authority;

struct Server {
    dir: tempfile::TempDir,
    endpoint: String,
    ca: String,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::generate("ca").unwrap();
        let own = authority
            .server("blobs", &["localhost"], &["127.0.0.1".parse().unwrap()])
            .unwrap();
        let tls = Tls {
            certificate: dir.path().join("tls.pem"),
            private_key: dir.path().join("tls.key"),
        };
        std::fs::write(&tls.certificate, own.certificate).unwrap();
        std::fs::write(&tls.private_key, own.private_key.expose()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        let app = router(Options {
            directory: dir.path().join("blobs"),
            accounts: vec![("agent".into(), "s3cret".into())],
            secret: "signing".into(),
        });
        let tls = crate::nats::server_tls(&tls).unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(crate::listen::serve(listener, Some(tls), app, stop.clone()));
        let ca = authority.credentials().certificate;
        Self {
            dir,
            endpoint,
            ca,
            stop,
            served,
        }
    }

    fn store(&self, password: &str) -> Store {
        let options = json!({
            "endpoint": self.endpoint,
            "user": "agent",
            "password": password,
            "secret": "signing",
            "tls": {"cert": {"ca": self.ca}},
        });
        Store::open("dav", &options).unwrap()
    }

    fn http(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(self.ca.as_bytes()).unwrap();
        reqwest::Client::builder()
            .tls_certs_only([ca])
            .build()
            .unwrap()
    }
}

#[tokio::test]
async fn blobs_come_back_as_they_were_stored() {
    let server = Server::start().await;
    let store = server.store("s3cret");
    let content = Bytes::from(vec![7u8; 3_000_000]);
    let stored = store
        .put(content.to_vec(), &[Algorithm::Sha256])
        .await
        .unwrap();
    let id = stored.id.as_str();
    assert!(store.exists(id).await.unwrap());
    let back = store
        .get_bytes(id, Some(&stored.digest), 10_000_000)
        .await
        .unwrap();
    assert_eq!(back, content);
    // Where nginx would have put it, and nothing half-written beside it.
    let path = server
        .dir
        .path()
        .join("blobs")
        .join(bosh_blobstore::id::dav_path(id));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3_000_000);
    let beside = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1);

    store.delete(id).await.unwrap();
    assert!(!store.exists(id).await.unwrap());
    let gone = store.get_bytes(id, None, 10).await.unwrap_err();
    assert!(matches!(gone, Error::NotFound(_)), "{gone}");
    server.stop.cancel();
    server.served.await.unwrap();
}

#[tokio::test]
async fn signed_urls_need_no_password_and_allow_one_thing() {
    let server = Server::start().await;
    let store = server.store("s3cret");
    let http = server.http();
    let now = SystemTime::now();
    let minute = Duration::from_secs(60);
    let put = store.sign("one", Action::Put, now, minute).await.unwrap();
    let get = store.sign("one", Action::Get, now, minute).await.unwrap();
    let stale = store
        .sign("one", Action::Get, now - 2 * minute, minute).await.unwrap();

    let status = |response: reqwest::Response| response.status().as_u16();
    let missing = http.get(get.as_str()).send().await.unwrap();
    assert_eq!(status(missing), 404);
    assert_eq!(
        status(http.put(put.as_str()).body("x").send().await.unwrap()),
        201
    );
    assert_eq!(
        status(http.put(put.as_str()).body("xy").send().await.unwrap()),
        204
    );
    let got = http.get(get.as_str()).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "xy");
    assert_eq!(
        status(http.put(get.as_str()).body("z").send().await.unwrap()),
        403
    );
    assert_eq!(status(http.get(stale.as_str()).send().await.unwrap()), 403);
    assert_eq!(status(http.delete(put.as_str()).send().await.unwrap()), 405);
    let other = get.as_str().replace("/one?", "/two?");
    assert_eq!(status(http.get(other).send().await.unwrap()), 403);
    server.stop.cancel();
}

#[tokio::test]
async fn strangers_get_nothing() {
    let server = Server::start().await;
    let store = server.store("wrong");
    assert!(store.put(vec![1], &[Algorithm::Sha1]).await.is_err());
    let http = server.http();
    let url = format!("{}/a9/abc", server.endpoint);
    let response = http.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.headers()["www-authenticate"],
        "Basic realm=\"Blobstore Read\""
    );
    let outside = format!("{}/a9/%2e%2e/%2e%2e/tls.key", server.endpoint);
    let response = http
        .get(&outside)
        .basic_auth("agent", Some("s3cret"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    server.stop.cancel();
}
