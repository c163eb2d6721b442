//! A real nats-server with mutual TLS, as agents and monitor meet it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use async_nats::{Client, ConnectOptions};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

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
    _server: Guard,
}

impl Bus {
    /// Makes certificates under `dir` and starts a server that asks for them; no permissions are set.
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "bench CA");
        let ca_cert = params.self_signed(&ca_key)?;
        let issuer = Issuer::new(params, ca_key);
        let leaf = |name: &str| -> anyhow::Result<(String, String)> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        let (server_cert, server_key) = leaf("default.nats.bosh-internal")?;
        let (cert, key) = leaf("client")?;
        let file = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = dir.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let ca = file("ca.pem", &ca_cert.pem())?;
        let port = free_port()?;
        let config = format!(
            "host: 127.0.0.1\nport: {port}\nmax_pending: 1073741824\nwrite_deadline: \"60s\"\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
            file("server.pem", &server_cert)?,
            file("server.key", &server_key)?,
            ca
        );
        let mut command = Command::new("nats-server");
        command
            .arg("-c")
            .arg(file("nats.conf", &config)?)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Guard::spawn(&mut command)?;
        let bus = Self {
            port,
            ca,
            cert: file("client.pem", &cert)?,
            key: file("client.key", &key)?,
            _server: server,
        };
        wait::until("nats-server", Duration::from_secs(10), || async {
            Ok(Some(bus.client().await?))
        })
        .await?;
        Ok(bus)
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
