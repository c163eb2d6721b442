//! With the blobstore client that agents and directors use, over TLS.

use std::time::{Duration, SystemTime};

use bosh_blobstore::contract::{self, Signs};
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
        .sign("one", Action::Get, now - 2 * minute, minute)
        .await
        .unwrap();

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

#[tokio::test]
async fn the_contract_holds_for_webdav() {
    let server = Server::start().await;
    let store = server.store("s3cret");
    contract::holds(&store, Signs::Both, &server.http()).await;
    server.stop.cancel();
}

#[tokio::test]
async fn the_contract_holds_for_the_simple_protocol() {
    let server = Server::start().await;
    let options = json!({
        "endpoint": server.endpoint, "user": "agent", "password": "s3cret",
        "tls": {"cert": {"ca": server.ca}},
    });
    let store = Store::open("simple", &options).unwrap();
    contract::holds(&store, Signs::Nothing, &server.http()).await;

    // Blobs never change, and both protocols see the same ones.
    store.put_with_id("one", vec![1], &[]).await.unwrap();
    let again = store.put_with_id("one", vec![2], &[]).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists(_)), "{again}");
    let dav = server.store("s3cret");
    assert_eq!(dav.get_bytes("one", None, 9).await.unwrap(), vec![1]);
    let url = format!("{}/resources", server.endpoint);
    let form = "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"f\"\r\n\r\nhello\r\n--b--\r\n";
    let post = |url: &str, password: &str| {
        let request = server.http().post(url).basic_auth("agent", Some(password));
        request
            .header("content-type", "multipart/form-data; boundary=b")
            .body(form)
            .send()
    };
    let made = post(&url, "s3cret").await.unwrap().text().await.unwrap();
    assert_eq!(dav.get_bytes(&made, None, 9).await.unwrap(), "hello");
    assert_eq!(post(&url, "guessed").await.unwrap().status(), 401);
    for bad in ["..%2f..%2ftls.key", ".x.partial", "a%2fb"] {
        let refused = post(&format!("{url}/{bad}"), "s3cret").await.unwrap();
        assert_eq!(refused.status(), 404, "{bad}");
    }
    server.stop.cancel();
}

/// Where this test, started by itself, serves blobs until it is killed.
const SERVE: &str = "BOSH_TEST_SERVE_BLOBS";

#[tokio::test]
async fn a_server_killed_in_mid_upload_shows_nothing_half() {
    if let Some(dir) = std::env::var_os(SERVE) {
        return serve_until_killed(std::path::Path::new(&dir)).await;
    }
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let this = std::thread::current().name().unwrap().to_owned();
    let start = || {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child
            .args([this.as_str(), "--exact"])
            .env(SERVE, dir.path());
        child.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let mut child = start();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let address = loop {
        match std::fs::read_to_string(dir.path().join("address")) {
            Ok(address) => break address,
            Err(_) => assert!(std::time::Instant::now() < deadline, "it does not listen"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // Half of the body, and once it is on its way to the disk, the end.
    let url = format!("http://{address}/aa/f4");
    let half = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![7; 4 << 20]))]);
    let half = futures_util::StreamExt::chain(half, futures_util::stream::pending());
    let id = "half";
    let url = url.replace("aa/f4", &bosh_blobstore::id::dav_path(id));
    let upload = tokio::spawn(
        reqwest::Client::new()
            .put(url)
            .basic_auth("agent", Some("s3cret"))
            .body(reqwest::Body::wrap_stream(half))
            .send(),
    );
    let blobs = dir.path().join("blobs");
    let written = || {
        let folder = blobs.join(bosh_blobstore::id::dav_path(id));
        let entries = std::fs::read_dir(folder.parent().unwrap()).ok()?;
        entries
            .flatten()
            .find(|file| file.metadata().is_ok_and(|meta| meta.len() > 1 << 20))
    };
    while written().is_none() {
        assert!(std::time::Instant::now() < deadline, "nothing is written");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(upload.await.unwrap().is_err());

    let store = Store::embedded(&blobs, "https://x", "signing");
    assert!(!store.exists(id).await.unwrap());
    assert!(store.list().await.unwrap().is_empty());
    // What it left goes with the next cleaning, and the blob can be stored anew.
    assert_eq!(
        store
            .remove_abandoned(SystemTime::now() - Duration::from_secs(3600))
            .await
            .unwrap(),
        0
    );
    let soon = SystemTime::now() + Duration::from_secs(1);
    assert_eq!(store.remove_abandoned(soon).await.unwrap(), 1);
    assert!(written().is_none());
    store.put_with_id(id, vec![1], &[]).await.unwrap();
    assert_eq!(store.list().await.unwrap().len(), 1);
}

async fn serve_until_killed(dir: &std::path::Path) {
    let app = router(Options {
        directory: dir.join("blobs"),
        accounts: vec![("agent".into(), "s3cret".into())],
        secret: "signing".into(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::fs::write(dir.join("partial"), address).unwrap();
    std::fs::rename(dir.join("partial"), dir.join("address")).unwrap();
    // Not for ever, if whoever started it is killed itself.
    let minute = Duration::from_secs(60);
    let _ = tokio::time::timeout(minute, axum::serve(listener, app).into_future()).await;
}
