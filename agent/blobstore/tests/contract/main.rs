//! One contract, each backend: against real servers where there are any that can be installed.
//!
//! | backend | server |
//! |---|---|
//! | `local`, `embedded` | a directory; the embedded server itself is the director's, and tested there |
//! | `dav` | nginx with its DAV module (signed URLs need a module that Debian lacks: `tests/dav.rs`) |
//! | `s3` | s3s, which checks signatures and their times |
//! | `azure-storage` | Azurite, Microsoft's own |
//! | `gcs` | a fake that checks signatures: no emulator does |
//! | `atmos` | a fake, for nobody has one any more |
//! | `simple` | the embedded server of the director, tested there |
//! | programs | a fake one |

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like tests"
)]

mod atmos;
mod azure;
mod gcs;
mod nginx;
mod program;
mod s3;

use bosh_blobstore::{
    Store,
    contract::{self, Signs},
};
use serde_json::json;
use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

/// Waits until somebody listens.
fn wait_for_port(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client for signed URLs on loopback.
fn http() -> reqwest::Client {
    // Another test of the process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn local() {
    let dir = tempfile::tempdir().unwrap();
    let options = json!({"blobstore_path": dir.path().join("blobs")});
    let store = Store::open("local", &options).unwrap();
    contract::holds(&store, Signs::Nothing, &http()).await;
    // Nothing half-written is left either.
    assert_eq!(
        std::fs::read_dir(dir.path().join("blobs")).unwrap().count(),
        0
    );
}
