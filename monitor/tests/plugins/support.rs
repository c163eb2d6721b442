//! Plugins started from a text, events for them, and listeners.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bosh_monitor::config::Config;
use bosh_monitor::event::{Alert, Category, Event, Heartbeat, Status};
use bosh_monitor::notify::{Dispatcher, PluginStats};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A configuration of these plugins, whose log and spool are in `dir`.
pub(crate) fn config(dir: &Path, plugins: Value) -> anyhow::Result<Config> {
    _ = rustls::crypto::ring::default_provider().install_default();
    let file = json!({
        "mbus": { "endpoint": "nats://127.0.0.1:1", "server_ca_path": "x", "client_certificate_path": "x", "client_private_key_path": "x" },
        "director": { "endpoint": "http://127.0.0.1:1" },
        "logfile": dir.join("monitor.log"),
        "plugins": plugins,
    });
    let text = serde_yaml_ng::to_string(&file)?;
    Ok(Config::parse(Path::new("hm.yml"), &text)?)
}

/// These plugins, running.
pub(crate) fn start(dir: &Path, plugins: Value) -> anyhow::Result<Dispatcher> {
    let config = config(dir, plugins)?;
    Ok(Dispatcher::start(&config.plugins, &config.spool, None)?)
}

/// An alert about an instance.
pub(crate) fn alert(title: &str) -> Alert {
    Alert {
        id: format!("id of {title}"),
        summary: format!("{title}, and that is all"),
        source: Some("dep: web(i-1) [id=a-1, index=0, cid=vm-1]".into()),
        deployment: Some("dep".into()),
        job: Some("web".into()),
        instance_id: Some("i-1".into()),
        category: Some(Category::VmHealth),
        key: Some(format!("agents/{title}")),
        ..Alert::new(2, title, 1_320_196_099)
    }
}

/// Its end.
pub(crate) fn over(title: &str) -> Alert {
    Alert {
        id: format!("end of {title}"),
        status: Status::Resolved,
        ..alert(title)
    }
}

/// A heartbeat with every metric.
pub(crate) fn heartbeat(instance: &str) -> Event {
    Event::Heartbeat(Arc::new(Heartbeat {
        id: "hb-1".into(),
        timestamp: 1_320_196_099,
        agent_id: "a-1".into(),
        deployment: "dep".into(),
        job: "web".into(),
        index: "0".into(),
        instance_id: instance.into(),
        job_state: Some("running".into()),
        number_of_processes: Some(5),
        teams: Arc::from(["ateam".to_owned(), "bteam".to_owned()]),
        vitals: json!({
            "load": [0.2, 0.3, 0.6],
            "cpu": {"user": 22.3, "sys": 23.4, "wait": 33.22},
            "mem": {"percent": 32.2, "kb": 512_031},
            "swap": {"percent": 32.6, "kb": 231_312},
            "disk": {
                "system": {"percent": 74, "inode_percent": 68},
                "ephemeral": {"percent": 33, "inode_percent": 74},
                "persistent": {"percent": 97, "inode_percent": 10},
            },
        }),
    }))
}

pub(crate) fn publish(dispatcher: &Dispatcher, alert: Alert) {
    dispatcher.publish(&Event::Alert(Arc::new(alert)));
}

/// The numbers of the plugin with this id.
pub(crate) fn stats(dispatcher: &Dispatcher, id: &str) -> PluginStats {
    let found = dispatcher
        .stats()
        .plugins()
        .into_iter()
        .find(|stats| stats.id == id);
    found.unwrap_or_else(|| panic!("there is no plugin {id}"))
}

/// Polls until it is so.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    bosh_tests::wait::until(what, SOON, || {
        let seen = look();
        async { Ok(seen) }
    })
    .await
}

/// Bytes that came over any number of connections, in the order of their arrival.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) addr: SocketAddr,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Takes what comes over TCP, or over TLS.
    pub(crate) async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let this = Self {
            addr: listener.local_addr()?,
            bytes: Arc::default(),
        };
        let collector = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (collector, tls) = (collector.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => collector.take(stream).await,
                        Some(tls) => {
                            match tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                                Ok(stream) => collector.take(stream).await,
                                Err(error) => eprintln!("collector: {error}"),
                            }
                        }
                    }
                });
            }
        });
        Ok(this)
    }

    async fn take(&self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4_096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.extend_from_slice(&buffer[..length]);
        }
    }

    pub(crate) fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) async fn lines(&self, number: usize) -> anyhow::Result<Vec<String>> {
        until(&format!("{number} lines"), || {
            let lines: Vec<_> = self.text().lines().map(str::to_owned).collect();
            (lines.len() >= number).then_some(lines)
        })
        .await
    }
}

/// What stands between a plugin and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing.
    Open,
    /// Connections are taken, and nothing is ever said.
    Hangs,
    /// Connections are reset as soon as something is said.
    Resets,
    /// Nobody listens.
    Refuses,
}

/// A server's door, which can be made to misbehave.
pub(crate) struct Door {
    pub(crate) addr: SocketAddr,
    server: SocketAddr,
    task: JoinHandle<()>,
}

impl Door {
    pub(crate) async fn new(server: SocketAddr, way: Way) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(stand(listener, server, way));
        let mut door = Self { addr, server, task };
        if way == Way::Refuses {
            door.set(way).await?;
        }
        Ok(door)
    }

    /// Ends all connections and treats new ones like this.
    pub(crate) async fn set(&mut self, way: Way) -> anyhow::Result<()> {
        self.task.abort();
        _ = (&mut self.task).await;
        if way != Way::Refuses {
            let listener = TcpListener::bind(self.addr).await?;
            self.task = tokio::spawn(stand(listener, self.server, way));
        } else {
            self.task = tokio::spawn(async {});
        }
        Ok(())
    }
}

async fn stand(listener: TcpListener, server: SocketAddr, way: Way) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.spawn(async move {
            match way {
                Way::Open => {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                    }
                }
                Way::Hangs => std::future::pending().await,
                Way::Resets | Way::Refuses => {
                    // Closing with unread bytes resets.
                    _ = stream.readable().await;
                    _ = stream.write_all(b"").await;
                }
            }
        });
    }
}

/// A server's certificate for 127.0.0.1 and the CA that signed it, in a PEM file.
pub(crate) fn tls(dir: &Path) -> anyhow::Result<(Arc<rustls::ServerConfig>, String)> {
    _ = rustls::crypto::ring::default_provider().install_default();
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key)?;
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])?
        .signed_by(&key, &issuer)?;
    let chain = vec![CertificateDer::from_pem_slice(
        certificate.pem().as_bytes(),
    )?];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let path = dir.join("ca.pem");
    std::fs::write(&path, ca.pem())?;
    Ok((Arc::new(config), path.to_string_lossy().into_owned()))
}
