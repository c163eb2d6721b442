//! A real nats-server with mutual TLS, as agents and monitor meet it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};

use crate::{process::Guard, wait};

/// A running server and the files a client needs; it ends with this.
pub struct Bus {
    /// On 127.0.0.1.
    pub port: u16,
    /// The CA of everybody's certificate, PEM.
    pub ca: PathBuf,
    /// A client's certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The certificate and key of a user that only the permissions of [`Bus::like_upstreams`] restrict: the monitor's.
    pub monitor: (PathBuf, PathBuf),
    config: PathBuf,
    server: Option<Guard>,
}

/// What upstream's nats.cfg lets the monitor do, beside a user that may do everything.
const PERMISSIONS: &str = r#"authorization { users = [
  { user: "C=USA, O=Cloud Foundry, CN=client" }
  { user: "C=USA, O=Cloud Foundry, CN=default.hm.bosh-internal"
    permissions: { publish: [], subscribe: [ "hm.agent.heartbeat.*", "hm.agent.alert.*", "hm.agent.shutdown.*", "hm.director.alert" ] } }
] }
"#;

impl Bus {
    /// Makes certificates under `dir` and starts a server that asks for them; no permissions are set.
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::with(dir, "max_pending: 1073741824\nwrite_deadline: \"60s\"\n").await
    }

    /// The same with users, and permissions for the monitor, as upstream's server has them.
    pub async fn like_upstreams(dir: &Path) -> anyhow::Result<Self> {
        Self::with(dir, PERMISSIONS).await
    }

    /// The same with more lines in the server's configuration.
    pub async fn with(dir: &Path, more: &str) -> anyhow::Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "bench CA");
        let ca_cert = params.self_signed(&ca_key)?;
        let issuer = Issuer::new(params, ca_key);
        let leaf = |name: &str, names: &[&str]| -> anyhow::Result<(String, String)> {
            let key = KeyPair::generate()?;
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names)?;
            params.distinguished_name = DistinguishedName::new();
            let subject = [
                (DnType::CountryName, "USA"),
                (DnType::OrganizationName, "Cloud Foundry"),
                (DnType::CommonName, name),
            ];
            for (kind, value) in subject {
                params.distinguished_name.push(kind, value);
            }
            Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        let server_name = "default.nats.bosh-internal";
        let (server_cert, server_key) = leaf(server_name, &["127.0.0.1", server_name])?;
        let (cert, key) = leaf("client", &[])?;
        let (monitor_cert, monitor_key) = leaf("default.hm.bosh-internal", &[])?;
        let file = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let ca = file("ca.pem", &ca_cert.pem())?;
        let port = free_port()?;
        let config = format!(
            "host: 127.0.0.1\nport: {port}\n{more}tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify_and_map: {} }}\n",
            file("server.pem", &server_cert)?,
            file("server.key", &server_key)?,
            ca,
            more.contains("users"),
        );
        // Without users a certificate is asked for and nobody is mapped.
        let config = config.replace("verify_and_map: false", "verify: true");
        let mut bus = Self {
            port,
            ca,
            cert: file("client.pem", &cert)?,
            key: file("client.key", &key)?,
            monitor: (
                file("monitor.pem", &monitor_cert)?,
                file("monitor.key", &monitor_key)?,
            ),
            config: file("nats.conf", &config)?,
            server: None,
        };
        bus.up().await?;
        Ok(bus)
    }

    /// Starts the server, again if need be on the same port, and waits until it answers.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("nats-server");
        command
            .arg("-c")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.server = Some(Guard::spawn(&mut command)?);
        wait::until("nats-server", Duration::from_secs(10), || async {
            Ok(Some(self.client().await?))
        })
        .await?;
        Ok(())
    }

    /// Kills the server.
    pub fn down(&mut self) {
        self.server = None;
    }

    /// A client of its own.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let options = ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(self.ca.clone())
            .add_client_certificate(self.cert.clone(), self.key.clone())
            .client_capacity(65_536);
        Ok(options.connect(format!("127.0.0.1:{}", self.port)).await?)
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
