//! A director without a message bus, and a client for it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header, response};
use base64::Engine as _;
use bosh_director::app::{Director, Parts};
use bosh_director::config::{Config, raw};
use bosh_director::{agents, audit, cpi, dns, http, nats, tasks, template, variables};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::database;

/// How long a task may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) director: Director,
    router: Router,
    stop: CancellationToken,
    directory: tempfile::TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Fixture {
    /// A director with workers.
    pub(crate) async fn new() -> Self {
        let fixture = Self::idle().await;
        fixture.work();
        fixture
    }

    /// Starts its workers.
    pub(crate) fn work(&self) {
        tokio::spawn(tasks::run(self.director.clone(), 2, self.stop.clone()));
    }

    /// A director whose tasks stay in the queue.
    pub(crate) async fn idle() -> Self {
        Self::with(json!({})).await
    }

    /// The same with these keys of director.yml.
    pub(crate) async fn with(keys: Value) -> Self {
        Self::audited(keys, audit::Log::default()).await
    }

    /// The same with an audit log.
    pub(crate) async fn audited(keys: Value, audit: audit::Log) -> Self {
        // Only the first test of a process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let config = config(path, keys);
        let db = database::open(path).await.with_audit(audit);
        let blobs = json!({ "blobstore_path": path.join("blobs") });
        let blobstore = bosh_blobstore::Store::open("local", &blobs).unwrap();
        let bus = agents::Options::new(&config.nats);
        let director = Director::new(Parts {
            uuid: "2b7e7d0e-0000-4000-8000-000000000000".to_owned(),
            tasks: tasks::Handle::new(
                db.clone(),
                tasks::Options {
                    directory: path.to_path_buf(),
                    record_events: true,
                    version: "1.0.0".to_owned(),
                },
            ),
            agents: agents::Client::connect(&bus, None).await.unwrap(),
            cpis: cpi::Registry::new(config.cpi.clone(), "uuid"),
            secrets: variables::Cipher::new(&variables::Cipher::new_key().unwrap()).unwrap(),
            config_server: config
                .config_server
                .as_ref()
                .map(|config| variables::ConfigServer::new(config).unwrap()),
            templates: template::Pool::new(template::Options::default()),
            dns: dns::Publisher::default(),
            nats_ca: nats::ClientCa::load(&config.nats.client_ca).unwrap(),
            nats_server_ca: String::new(),
            nats_users: nats::Users::external(),
            config,
            db,
            blobstore,
        });
        let router = http::router(director.clone());
        Self {
            director,
            router,
            stop: CancellationToken::new(),
            directory,
        }
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The head of a reply, and its body as it comes.
    pub(crate) async fn send_raw(&self, request: Request<Body>) -> (response::Parts, Bytes) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, to_bytes(body, usize::MAX).await.unwrap())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.send_raw(request).await;
        Reply {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        media: &str,
        body: impl Into<Body>,
    ) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, basic("admin", "secret"))
            .header(header::CONTENT_TYPE, media)
            .body(body.into())
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, "", Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, "", Body::empty()).await
    }

    pub(crate) async fn json(&self, method: Method, path: &str, body: Value) -> Reply {
        self.call(method, path, "application/json", body.to_string())
            .await
    }

    pub(crate) async fn yaml(&self, method: Method, path: &str, body: &str) -> Reply {
        self.call(method, path, "text/yaml", body.to_owned()).await
    }

    /// Waits for the task that a reply redirects to.
    pub(crate) async fn task(&self, reply: &Reply) -> Value {
        assert_eq!(reply.status, StatusCode::FOUND, "{}", reply.text);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let task = self.get(reply.location()).await.json();
            if !matches!(
                task["state"].as_str(),
                Some("queued" | "processing" | "cancelling")
            ) {
                return task;
            }
            assert!(Instant::now() < deadline, "task never ended: {task}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The result of a task that must end well.
    pub(crate) async fn done(&self, reply: &Reply) -> String {
        let task = self.task(reply).await;
        assert_eq!(task["state"], "done", "{task}");
        task["result"].as_str().unwrap().to_owned()
    }

    /// The code and message of a task that must fail, from its event log.
    pub(crate) async fn failed(&self, reply: &Reply) -> (u64, String) {
        let task = self.task(reply).await;
        assert_eq!(task["state"], "error", "{task}");
        let events = self
            .get(&format!("{}/output?type=event", reply.location()))
            .await;
        let last: Value = serde_json::from_str(events.text.lines().last().unwrap()).unwrap();
        let message = last["error"]["message"].as_str().unwrap().to_owned();
        (last["error"]["code"].as_u64().unwrap(), message)
    }

    /// The blobs that there are.
    pub(crate) fn blobs(&self) -> usize {
        fn count(path: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(path) else {
                return 0;
            };
            entries
                .map(|entry| entry.unwrap())
                .map(|entry| {
                    if entry.file_type().unwrap().is_dir() {
                        count(&entry.path())
                    } else {
                        1
                    }
                })
                .sum()
        }
        count(&self.path().join("blobs"))
    }

    /// Waits until no temporary file is left.
    pub(crate) async fn is_tidy(&self) {
        let deadline = Instant::now() + PATIENCE;
        let tmp = self.path().join("tmp");
        while std::fs::read_dir(&tmp).is_ok_and(|mut entries| entries.next().is_some()) {
            assert!(Instant::now() < deadline, "temporary files stay");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn basic(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

/// A reply with what changes from run to run taken out.
pub(crate) fn still(mut value: Value) -> Value {
    match &mut value {
        Value::Array(list) => {
            for item in list {
                *item = still(item.take());
            }
        }
        Value::Object(map) => {
            for (key, value) in map {
                let varies = matches!(
                    key.as_str(),
                    "created_at"
                        | "timestamp"
                        | "started_at"
                        | "timeout"
                        | "vm_created_at"
                        | "blobstore_id"
                        | "sha1"
                );
                if varies && !value.is_null() {
                    *value = json!("<varies>");
                } else {
                    *value = still(value.take());
                }
            }
        }
        _ => {}
    }
    value
}

fn config(path: &Path, keys: Value) -> Config {
    let put = |name: &str, text: &str| {
        let path = path.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = ca.self_signed(&key).unwrap();
    let certificate = put("ca.pem", &ca.pem());
    let key = put("ca.key", &key.serialize_pem());
    let cpi = put("cpi", CPI);
    std::fs::set_permissions(&cpi, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut yaml = json!({
        "name": "test",
        "listen": "127.0.0.1:0",
        "mbus": "nats://127.0.0.1:1",
        "nats": {
            "server_ca_path": certificate,
            "client_ca_certificate_path": certificate,
            "client_ca_private_key_path": key,
            "client_certificate_path": certificate,
            "client_private_key_path": key,
        },
        "dir": path,
        "db": { "adapter": "sqlite", "database": path.join("director.db") },
        "blobstore": { "provider": "local", "options": { "blobstore_path": path.join("blobs") } },
        "cloud": { "provider": { "name": "fake", "path": cpi } },
        "user_management": { "provider": "local", "local": { "users": [
            { "name": "admin", "password": "secret" },
            { "name": "reader", "password": "read", "scopes": ["bosh.read"] },
        ] } },
        "record_events": true,
        "version": "1.0.0",
        "max_tasks": 2,
    });
    if let (Value::Object(yaml), Value::Object(keys)) = (&mut yaml, keys) {
        yaml.extend(keys);
    }
    let raw: raw::Director = serde_json::from_value(yaml).unwrap();
    Config::resolve(raw).unwrap()
}

/// Imports any image but one that says `bad`, and notes what it was asked.
const CPI: &str = r#"#!/bin/sh
read -r request
here=$(dirname "$0")
echo "$request" >> "$here/cpi.calls"
reply() { printf '{"result":%s,"error":null,"log":""}\n' "$1"; }
case "$request" in
*'"method":"info"'*) reply '{"api_version":2,"stemcell_formats":["warden-tar"]}' ;;
*'"method":"create_stemcell"'*)
    image=$(printf %s "$request" | sed 's/.*"arguments":\["\([^"]*\)".*/\1/')
    if [ "$(cat "$image")" = bad ]; then
        printf '{"result":null,"error":{"type":"Bosh::Clouds::CloudError","message":"bad image","ok_to_retry":false},"log":""}\n'
    else
        reply "\"image-$(cat "$image")\""
    fi ;;
*'"method":"snapshot_disk"'*) reply "\"snap-$(wc -l < "$here/cpi.calls")\"" ;;
*'"method":"create_disk"'*) reply '"disk-made"' ;;
*'"method":"has_disk"'*) reply true ;;
*) reply null ;;
esac
"#;
