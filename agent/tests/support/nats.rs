//! nats-server as the director runs it: mutual TLS, users are certificate subjects, permissions per agent.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
};
use serde_json::{Value, json};

use super::eventually;

/// A certificate authority.
pub(crate) struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, and who signed it.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) private_key: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = name("default.nats-ca.bosh-internal");
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn sign(&self, common_name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name);
        params.subject_alt_names = [1, 2, 3]
            .map(|last| SanType::IpAddress([127, 0, 0, last].into()))
            .to_vec();
        params
            .subject_alt_names
            .push(SanType::DnsName("director.test".try_into().unwrap()));
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair {
            ca: self.pem.clone(),
            certificate,
            private_key: key.serialize_pem(),
        }
    }

    pub(crate) fn agent(&self, id: &str) -> Pair {
        self.sign(&format!("{id}.agent.bosh-internal"))
    }
}

impl Pair {
    /// As `env.bosh.mbus.cert` has it.
    pub(crate) fn settings(&self) -> Value {
        json!({"ca": self.ca, "certificate": self.certificate, "private_key": self.private_key})
    }
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "USA");
    name.push(DnType::OrganizationName, "Cloud Foundry");
    name.push(DnType::CommonName, common_name);
    name
}

/// A running server; ended when dropped.
pub(crate) struct Nats {
    dir: tempfile::TempDir,
    process: Child,
    host: String,
    pub(crate) port: u16,
    pub(crate) ca: Ca,
}

impl Nats {
    /// Starts a server that knows these agents.
    pub(crate) async fn start(agents: &[&str]) -> Self {
        Self::start_as(agents, "default.nats.bosh-internal").await
    }

    /// Starts a server whose certificate has another name.
    pub(crate) async fn start_as(agents: &[&str], common_name: &str) -> Self {
        Self::start_with("127.0.0.1", agents, common_name).await
    }

    /// Starts a server on another address.
    pub(crate) async fn start_at(host: &str, agents: &[&str]) -> Self {
        Self::start_with(host, agents, "default.nats.bosh-internal").await
    }

    async fn start_with(host: &str, agents: &[&str], common_name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::new();
        let pair = ca.sign(common_name);
        std::fs::write(dir.path().join("ca.pem"), &pair.ca).unwrap();
        std::fs::write(dir.path().join("cert.pem"), &pair.certificate).unwrap();
        std::fs::write(dir.path().join("key.pem"), &pair.private_key).unwrap();
        std::fs::write(dir.path().join("users"), users(agents)).unwrap();
        let (process, port) = spawn(dir.path(), host, -1).await;
        Self {
            dir,
            process,
            host: host.to_owned(),
            port,
            ca,
        }
    }

    /// Ends the server and starts it again on the same port.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        self.go_on().await;
    }

    /// Ends the server.
    pub(crate) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts the ended server again on the same port.
    pub(crate) async fn go_on(&mut self) {
        let (process, _) = spawn(self.dir.path(), &self.host, i32::from(self.port)).await;
        self.process = process;
    }

    /// Starts the ended server again on the same port of another address.
    pub(crate) async fn move_to(&mut self, host: &str) {
        self.host = host.to_owned();
        self.go_on().await;
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }

    /// Connects with the certificate of that name.
    pub(crate) async fn connect(&self, common_name: &str) -> Client {
        let pair = self.ca.sign(common_name);
        let pair = serde_json::from_value(pair.settings()).unwrap();
        let tls = bosh_agent::mbus::tls::client_config(&pair).unwrap();
        let options = ConnectOptions::new()
            .tls_client_config(tls)
            .require_tls(true);
        options
            .connect(self.url())
            .await
            .expect("connect to nats-server")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // It may have been ended by the test already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn spawn(dir: &Path, host: &str, port: i32) -> (Child, u16) {
    let file = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        r#"
        host: "{host}"
        port: {port}
        ports_file_dir: "{dir}"
        tls {{ cert_file: "{cert}", key_file: "{key}", ca_file: "{ca}", verify_and_map: true, timeout: 10 }}
        {users}
        "#,
        dir = dir.display(),
        cert = file("cert.pem"),
        key = file("key.pem"),
        ca = file("ca.pem"),
        users = std::fs::read_to_string(dir.join("users")).unwrap(),
    );
    std::fs::write(dir.join("nats.conf"), config).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut process = Command::new("nats-server")
        .arg("-c")
        .arg(dir.join("nats.conf"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("nats-server must be installed and on PATH for these tests: {error}")
        });
    let ports = dir.join(format!("nats-server_{}.ports", process.id()));
    let port = eventually("nats-server listens", || {
        if let Some(status) = process.try_wait().unwrap() {
            panic!(
                "nats-server ended with {status}: {}",
                std::fs::read_to_string(dir.join("log")).unwrap()
            );
        }
        let port = std::fs::read(&ports).ok().and_then(|bytes| {
            let ports: Value = serde_json::from_slice(&bytes).ok()?;
            ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
        });
        async move { port }
    })
    .await;
    (process, port)
}

/// Permissions as upstream's bosh-nats-sync writes them.
fn users(agents: &[&str]) -> String {
    let user = |common_name: &str, publish: Value, subscribe: Value| {
        json!({
            "user": format!("C=USA, O=Cloud Foundry, CN={common_name}"),
            "permissions": {"publish": publish, "subscribe": subscribe},
        })
    };
    let mut users = vec![
        user(
            "default.director.bosh-internal",
            json!(["agent.*", "hm.director.alert"]),
            json!(["director.>"]),
        ),
        user(
            "default.hm.bosh-internal",
            json!([]),
            json!([
                "hm.agent.heartbeat.*",
                "hm.agent.alert.*",
                "hm.agent.shutdown.*"
            ]),
        ),
    ];
    for id in agents {
        let publish = json!([
            format!("hm.agent.heartbeat.{id}"),
            format!("hm.agent.alert.{id}"),
            format!("hm.agent.shutdown.{id}"),
            format!("director.*.{id}.*"),
        ]);
        users.push(user(
            &format!("{id}.agent.bosh-internal"),
            publish,
            json!([format!("agent.{id}")]),
        ));
    }
    format!("authorization: {}", json!({"users": users}))
}

/// A pause is not a condition: this one only bounds how long silence is listened to.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
