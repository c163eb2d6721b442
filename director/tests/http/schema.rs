//! The OpenAPI document against the director itself: schemathesis makes requests of it and looks at the replies.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bosh_director::db;
use tokio::net::TcpListener;

use crate::deployments::deployment;
use crate::support::Fixture;

/// How many requests of each kind it makes up.
const EXAMPLES: &str = "4";
/// When it must be done.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where tests/install-deps puts it.
fn schemathesis() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../.cache/schemathesis/bin/st")
}

#[tokio::test]
async fn no_request_that_fits_the_document_makes_the_director_fail() {
    let program = schemathesis();
    assert!(
        program.exists(),
        "{} is missing: run tests/install-deps",
        program.display()
    );
    let fixture = Fixture::idle().await;
    let db = &fixture.director.db;
    deployment(db).await;
    db::configs::create(db, "cloud", "default", "a: 1")
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, fixture.router()).into_future());

    let mut command = tokio::process::Command::new(program);
    command
        .arg("run")
        .arg(format!("http://{address}/openapi.json"))
        .args(["--auth", "admin:secret"])
        .args([
            "--checks",
            "not_a_server_error,response_schema_conformance,content_type_conformance",
        ])
        .args(["--phases", "coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES])
        .args(["--workers", "2", "--seed", "1", "--no-color"])
        .args(["--suppress-health-check", "all", "--warnings", "off"])
        // It keeps what it found in the directory that it runs in.
        .current_dir(fixture.path())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.expect("schemathesis never ended").unwrap();
    server.abort();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Tested: "), "{said}");
}
