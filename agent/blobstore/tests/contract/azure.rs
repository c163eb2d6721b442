//! Azure, against Microsoft's own emulator, which checks keys and shared access signatures.

use super::{http, wait_for_port};
use base64::{Engine, engine::general_purpose::STANDARD};
use bosh_blobstore::{
    Store,
    contract::{self, Signs},
};
use ring::hmac;
use serde_json::json;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

/// The emulator's account, the same everywhere.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

struct Azurite(Child);

impl Drop for Azurite {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The director does not make containers, so the test does: with the account's key.
async fn make_container(http: &reqwest::Client, endpoint: &str, name: &str) {
    let date = Command::new("date")
        .env("LC_ALL", "C")
        .args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"])
        .output()
        .unwrap();
    let date = String::from_utf8(date.stdout).unwrap();
    let (date, version) = (date.trim(), "2021-12-02");
    let text = format!(
        "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY).unwrap());
    let signature = STANDARD.encode(hmac::sign(&key, text.as_bytes()));
    let made = http
        .put(format!("{endpoint}/{name}?restype=container"))
        .header("x-ms-date", date)
        .header("x-ms-version", version)
        .header("content-length", 0)
        .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
}

#[tokio::test]
async fn azure() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let process = Command::new("azurite-blob")
        .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"])
        .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
        .arg("--location")
        .arg(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("azurite must be installed for this test: tests/install-deps");
    let _azurite = Azurite(process);
    wait_for_port(port);
    let http = http();
    let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
    make_container(&http, &endpoint, "blobs").await;
    let mut options = json!({
        "account_name": ACCOUNT, "account_key": KEY, "container_name": "blobs", "endpoint": endpoint,
        "enable_signed_urls": true,
    });
    let store = Store::open("azurestoragecli", &options).unwrap();
    assert_eq!(store.headers()["x-ms-blob-type"], "blockblob");
    contract::holds(&store, Signs::Both, &http).await;

    options["account_key"] = json!(STANDARD.encode("guessed"));
    let wrong = Store::open("azure-storage", &options).unwrap();
    assert!(wrong.put(b"x".to_vec(), &[]).await.is_err());
    options["endpoint"] = json!(null);
    options["azure_cloud_name"] = json!("AzureMoon");
    let error = Store::open("azure-storage", &options).unwrap_err();
    assert!(error.to_string().contains("azure_cloud_name"), "{error}");
}
