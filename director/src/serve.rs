//! Puts the director together and runs it until told to stop.
//!
//! What it starts, in this order, and ends in the opposite one: nats-server and the blob server (when they are the
//! director's own), the database, the message bus, workers, the API, the health monitor.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use bosh_blobstore::Store;
use bosh_protocol::AgentId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{Director, Parts};
use crate::config::{self, Config};
use crate::db::{self, Db};
use crate::{
    agents, audit, blobs, child, cpi, dns, http, leavings, listen, nats, tasks, template, variables,
};

/// Which parts of the director this process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// All of it.
    Director,
    /// Only runs tasks, for a director elsewhere with the same database.
    Worker,
}

/// A director whose parts have started; [`Running::until`] runs it.
pub struct Running {
    /// What requests and tasks see.
    pub director: Director,
    role: Role,
    listener: Option<TcpListener>,
    nats: Option<nats::Server>,
    blobs: Option<(TcpListener, Router, rustls::ServerConfig)>,
    in_use: leavings::InUse,
}

/// Opens the database that director.yml names, and brings its schema up to date.
pub async fn open_database(config: &config::Database) -> anyhow::Result<Db> {
    match config {
        config::Database::Sqlite { path } => {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("make directory {}", folder.display()))?;
            }
            Db::sqlite(path)
                .await
                .with_context(|| format!("open database {}", path.display()))
        }
        config::Database::Postgres {
            url,
            max_connections,
            wait,
        } => {
            let deadline = tokio::time::Instant::now() + *wait;
            loop {
                match Db::postgres(url.expose(), *max_connections).await {
                    Ok(db) => return Ok(db),
                    Err(error) if tokio::time::Instant::now() >= deadline => {
                        return Err(error).context("connect to the database");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the database is not there yet");
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                }
            }
        }
    }
}

impl Running {
    /// Starts the parts. When this fails, what was started is ended again.
    pub async fn start(config: Config, role: Role) -> anyhow::Result<Self> {
        // Ports first: a second director must not get as far as touching the first one's children.
        let listener = match role {
            Role::Director => Some(bind(config.listen.address).await?),
            Role::Worker => None,
        };
        let blobs = match (&config.blobstore.server, role) {
            (Some(server), Role::Director) => {
                let listener = bind(server.listen).await?;
                std::fs::create_dir_all(&server.directory)
                    .with_context(|| format!("make directory {}", server.directory.display()))?;
                let tls = nats::server_tls(&server.tls)?;
                Some((listener, blobs::router(server.into()), tls))
            }
            _ => None,
        };
        let nats = match (&config.nats.server, role) {
            (Some(server), Role::Director) => Some(
                nats::Server::start(nats::Options {
                    executable: server.executable.clone(),
                    directory: server.directory.clone(),
                    listen: server.listen,
                    tls: server.tls.clone(),
                    client_ca: config.nats.client_ca.certificate.clone(),
                })
                .await?,
            ),
            _ => None,
        };
        match assemble(config, role, nats.as_ref()).await {
            Ok((director, in_use)) => Ok(Self {
                director,
                in_use,
                role,
                listener,
                nats,
                blobs,
            }),
            Err(error) => {
                if let Some(nats) = nats {
                    nats.stop().await;
                }
                Err(error)
            }
        }
    }

    /// Runs until `stop`, then ends everything: requests and tasks get a few seconds to finish.
    pub async fn until(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self {
            director,
            role,
            listener,
            nats,
            blobs,
            in_use: _in_use,
        } = self;
        let config = &director.config;
        let mut parts = JoinSet::new();
        // Agents may still be storing what a task waits for, so the blob server ends after the tasks.
        let blobs_stop = CancellationToken::new();
        let mut blob_server = JoinSet::new();
        if let Some((listener, router, tls)) = blobs {
            blob_server.spawn(listen::serve(
                listener,
                Some(tls),
                router,
                blobs_stop.clone(),
            ));
        }
        parts.spawn(tasks::run(director.clone(), config.workers, stop.clone()));
        if let Some(listener) = listener {
            let tls = config
                .listen
                .tls
                .as_ref()
                .map(nats::server_tls)
                .transpose()?;
            let address = config.listen.address;
            tracing::info!(%address, tls = tls.is_some(), "the API listens");
            let router = http::router(director.clone());
            parts.spawn(listen::serve(listener, tls, router, stop.clone()));
        }
        if role == Role::Director {
            parts.spawn(dns::converge(director.clone(), stop.clone()));
            parts.spawn(tasks::schedule(director.clone(), stop.clone()));
        }
        let mut monitor = None;
        if let (Some(config), Role::Director) = (&config.monitor, role) {
            monitor = Some(start_monitor(config)?);
        }
        stop.cancelled().await;
        tracing::info!("stopping");
        if let Some(monitor) = monitor {
            monitor.stop().await;
        }
        while let Some(ended) = parts.join_next().await {
            ended.context("a part of the director failed")?;
        }
        blobs_stop.cancel();
        while let Some(ended) = blob_server.join_next().await {
            ended.context("the blob server failed")?;
        }
        director.db.close().await.context("close the database")?;
        if let Some(nats) = nats {
            nats.stop().await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn assemble(
    config: Config,
    role: Role,
    nats: Option<&nats::Server>,
) -> anyhow::Result<(Director, leavings::InUse)> {
    for folder in [
        config.dir.clone(),
        config.tasks_dir(),
        config.dir.join("tmp"),
    ] {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("make directory {}", folder.display()))?;
    }
    let ruby = child::find("ruby", None).map_err(|_| {
        anyhow::anyhow!("ruby not found: install it (Debian, Ubuntu: apt-get install ruby)")
    })?;
    let db = open_database(&config.db)
        .await?
        .with_audit(open_audit(&config, role)?);
    let tmp = config.dir.join("tmp");
    let in_use = leavings::clear(&tmp, &db)
        .await
        .with_context(|| format!("clear directory {}", tmp.display()))?;
    let uuid = match &config.uuid {
        Some(uuid) => uuid.clone(),
        None => {
            let fresh = uuid::Uuid::new_v4().to_string();
            db::misc::attribute_or_set(&db, "uuid", &fresh).await?
        }
    };
    if config.record_events && role == Role::Director {
        let event = db::events::NewEvent {
            user: "_director".to_string(),
            action: "start".to_string(),
            object_type: "director".to_string(),
            object_name: Some(uuid.clone()),
            context: Some(json!({"version": config.version})),
            ..Default::default()
        };
        db::events::create(&db, event).await?;
    }
    let blobstore = open_blobstore(&config.blobstore)?;
    let secrets = open_cipher(&config.encryption_key)?;
    let config_server = config
        .config_server
        .as_ref()
        .map(variables::ConfigServer::new)
        .transpose()?;
    let nats_ca = nats::ClientCa::load(&config.nats.client_ca)?;
    let nats_server_ca = std::fs::read_to_string(&config.nats.server_ca)
        .with_context(|| format!("read {}", config.nats.server_ca.display()))?;
    let nats_users = nats.map_or_else(nats::Users::external, nats::Server::users);
    let known = db::vms::list(&db).await?;
    nats_users
        .replace(known.into_iter().filter_map(|vm| {
            Some(nats::User {
                agent_id: AgentId::new(vm.agent_id?),
                permanent: vm.permanent_nats_credentials,
            })
        }))
        .await;
    let bus = agents::Options::new(&config.nats);
    let agents = agents::Client::connect(&bus, Some(blobstore.clone())).await?;
    let tasks = tasks::Handle::new(
        db.clone(),
        tasks::Options {
            directory: config.dir.clone(),
            record_events: config.record_events,
            version: config.version.clone(),
        },
    );
    let cpis = cpi::Registry::new(config.cpi.clone(), &uuid);
    let director = Director::new(Parts {
        config,
        uuid,
        db,
        tasks,
        blobstore,
        agents,
        cpis,
        secrets,
        config_server,
        templates: template::Pool::new(template::Options {
            ruby,
            ..template::Options::default()
        }),
        dns: dns::Publisher::default(),
        nats_ca,
        nats_server_ca,
        nats_users,
    });
    Ok((director, in_use))
}

fn open_audit(config: &Config, role: Role) -> anyhow::Result<audit::Log> {
    let Some(directory) = &config.audit_log_path else {
        return Ok(audit::Log::default());
    };
    let name = match role {
        Role::Director => "audit.log",
        Role::Worker => "audit_worker.log",
    };
    audit::Log::open(directory, name)
        .with_context(|| format!("open the audit log in {}", directory.display()))
}

/// The director reads and writes its own blobs as files; only agents use its blob server.
fn open_blobstore(config: &config::Blobstore) -> anyhow::Result<Store> {
    if let Some(server) = &config.server {
        let endpoint = config
            .options
            .0
            .get("endpoint")
            .and_then(Value::as_str)
            .context("key 'blobstore.options.endpoint': expected https://host:port")?;
        let secret = server.secret.expose();
        return Ok(Store::embedded(&server.directory, endpoint, secret));
    }
    let options = Value::Object(config.options.0.clone());
    Store::open(&config.provider, &options).context("open the blobstore")
}

/// The key is 64 hexadecimal digits in a file that only its owner may read; made when there is none.
fn open_cipher(path: &Path) -> anyhow::Result<variables::Cipher> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = variables::Cipher::new_key()?;
            let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            write_key(path, &text).with_context(|| format!("write {}", path.display()))?;
            text
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let digits = text.trim();
    let key: Option<Vec<u8>> = (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect();
    let key = key.with_context(|| format!("{}: expected 64 hexadecimal digits", path.display()))?;
    variables::Cipher::new(&key).with_context(|| format!("key {}", path.display()))
}

fn write_key(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Fails when another process of the same director was faster: its key is the one then.
    std::fs::hard_link(&temporary, path)?;
    std::fs::remove_file(&temporary)
}

fn start_monitor(config: &config::Monitor) -> anyhow::Result<child::Supervised> {
    let program = child::find("bosh-monitor", config.executable.as_deref()).context(
        "bosh-monitor not found: put it beside bosh-director, or set monitor.executable",
    )?;
    let command = child::Command {
        program,
        arguments: vec!["-c".into(), config.config.clone().into()],
        log: Some(config.log.clone()),
        pid_file: config.log.with_extension("pid"),
    };
    Ok(child::Supervised::start("bosh-monitor", command))
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{address} is taken by another program: end it, or choose another port")
        }
        Err(error) => Err(error).with_context(|| format!("listen on {address}")),
    }
}

/// Reads director.yml.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path).with_context(|| format!("configuration {}", path.display()))
}
