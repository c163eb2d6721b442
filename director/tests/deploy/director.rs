//! A director with nats-server, database, blobstore, CPI and agents, and what tests ask of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bosh_blobstore::Store;
use bosh_director::app::{Director, Parts};
use bosh_director::config::{Config, raw};
use bosh_director::db::{self, ConfigId, Db};
use bosh_director::tasks::jobs::update_deployment::{Options, UpdateDeployment};
use bosh_director::tasks::{self, LogKind, NewTask, Task, Work};
use bosh_director::{agents, cpi, dns, nats, template, variables};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::agents::{Cloud, Shared, list};
use super::{database, release};

/// How long a task may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) director: Director,
    pub(crate) world: Shared,
    pub(crate) cloud_config: ConfigId,
    server: nats::Server,
    workers: JoinHandle<()>,
    _cloud: Cloud,
    directory: tempfile::TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.workers.abort();
        end_nats(self.directory.path());
    }
}

/// Ends nats-server. Its owner ends it when told so and given time, which a test that is over does not have.
fn end_nats(directory: &Path) {
    let config = directory.join("nats");
    // Its owner may still run in another thread and start it again: without this it cannot.
    if let Err(error) = std::fs::remove_dir_all(&config) {
        eprintln!("removing {}: {error}", config.display());
    }
    let ours = |pid: &str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*config.to_string_lossy())
    };
    for thread in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter(|pid| ours(pid)) {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

/// A task that came to its end.
pub(crate) struct Ended {
    pub(crate) task: Task,
    /// `Stage tags: task state`, without `started` and `in_progress`.
    pub(crate) steps: Vec<String>,
    /// Lines of the result log.
    pub(crate) lines: Vec<Value>,
}

impl Ended {
    /// What its result is; it must have ended well.
    pub(crate) fn done(self) -> Self {
        if self.task.state != "done" && std::env::var_os("SHOW_DEBUG").is_some() {
            eprintln!(
                "{}",
                std::fs::read_to_string(
                    std::path::Path::new(self.task.output.as_deref().unwrap()).join("debug")
                )
                .unwrap()
            );
        }
        assert_eq!(
            self.task.state, "done",
            "{:?} {:#?}",
            self.task.result, self.steps
        );
        self
    }

    /// Why it failed.
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.task.state, "error", "{:#?}", self.steps);
        self.task.result.unwrap()
    }

    pub(crate) fn result(&self) -> &str {
        self.task.result.as_deref().unwrap_or_default()
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let mut fixture = Self::without_workers().await;
        let director = fixture.director.clone();
        fixture.workers = tokio::spawn(tasks::run(director, 3, CancellationToken::new()));
        fixture
    }

    /// A director whose tasks are for other processes.
    pub(crate) async fn without_workers() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for name in ["vms", "disks", "blobs"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        let (config, server) = start(path).await;
        let db = database::open(path).await;
        let blobs = json!({ "blobstore_path": path.join("blobs") });
        let blobstore = Store::open("local", &blobs).unwrap();
        let key = variables::Cipher::new_key().unwrap();
        let director = assemble(&config, &server, &db, &blobstore, &key).await;
        let world = Shared::new(Mutex::default());
        let cloud = Cloud::start(
            path.join("vms"),
            server.local_url(),
            blobstore.clone(),
            world.clone(),
        );
        let cloud_config = db::configs::create(&db, "cloud", "default", release::CLOUD)
            .await
            .unwrap()
            .id;
        let workers = tokio::spawn(std::future::ready(()));
        let fixture = Self {
            director,
            world,
            cloud_config,
            server,
            workers,
            _cloud: cloud,
            directory,
        };
        fixture.upload().await;
        fixture
    }

    /// Ends the director as `kill -9` would, as far as that can be had within one process, and starts another one with
    /// the same database.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.workers.abort();
        let _ = (&mut self.workers).await;
        let parts = &self.director;
        let path = self.directory.path();
        let db = database::open(path).await;
        let key = variables::Cipher::new_key().unwrap();
        self.director = assemble(&parts.config, &self.server, &db, &parts.blobstore, &key).await;
        self.workers = tokio::spawn(tasks::run(
            self.director.clone(),
            3,
            CancellationToken::new(),
        ));
    }

    pub(crate) fn db(&self) -> &Db {
        &self.director.db
    }

    pub(crate) fn blobstore(&self) -> &Store {
        &self.director.blobstore
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Agents of VMs that are up.
    pub(crate) fn vms(&self) -> Vec<String> {
        list(&self.path().join("vms")).into_iter().collect()
    }

    /// Disks there are.
    pub(crate) fn disks(&self) -> usize {
        std::fs::read_dir(self.path().join("disks"))
            .unwrap()
            .count()
    }

    /// Calls of the CPI by method.
    pub(crate) fn cpi_calls(&self, method: &str) -> usize {
        let calls = std::fs::read_to_string(self.path().join("calls")).unwrap_or_default();
        calls
            .lines()
            .filter(|line| line.split(' ').next() == Some(method))
            .count()
    }

    /// Has a method of the CPI fail from now on, or no longer.
    pub(crate) fn cpi_fails(&self, method: &str, message: Option<&str>) {
        let path = self.path().join(format!("fail-{method}"));
        match message {
            Some(message) => std::fs::write(path, message).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
    }

    /// Destroys a VM behind the director's back.
    pub(crate) fn destroy_vm(&self, agent: &str) {
        std::fs::remove_file(self.path().join("vms").join(agent)).unwrap();
    }

    /// Starts a task.
    pub(crate) async fn begin(&self, work: Work) -> Task {
        let new = NewTask {
            work,
            username: "admin".into(),
            deployment: Some("shop".into()),
            description: "test".into(),
            context_id: String::new(),
        };
        self.director.tasks.enqueue(new).await.unwrap()
    }

    /// Runs a task to its end.
    pub(crate) async fn run(&self, work: Work) -> Ended {
        let task = self.begin(work).await;
        self.ended(task).await
    }

    /// Waits for a task's end.
    pub(crate) async fn ended(&self, task: Task) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let task = self.director.tasks.find(task.id).await.unwrap();
            if !matches!(task.state.as_str(), "queued" | "processing" | "cancelling") {
                return Ended {
                    steps: self.steps(&task),
                    lines: self.lines(&task),
                    task,
                };
            }
            assert!(Instant::now() < deadline, "task never ended: {task:?}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    fn log(&self, task: &Task, kind: LogKind) -> String {
        std::fs::read_to_string(self.director.tasks.log_path(task, kind)).unwrap_or_default()
    }

    /// The debug log.
    pub(crate) fn debug(&self, task: &Task) -> String {
        self.log(task, LogKind::Debug)
    }

    fn steps(&self, task: &Task) -> Vec<String> {
        let mut steps = Vec::new();
        for line in self.log(task, LogKind::Event).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| line[key].as_str().unwrap_or_default();
            if !matches!(text("state"), "finished" | "failed") {
                continue;
            }
            let tags: Vec<&str> = line["tags"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let tags = if tags.is_empty() {
                String::new()
            } else {
                format!(" {}", tags.join(","))
            };
            steps.push(format!(
                "{}{tags}: {} {}",
                text("stage"),
                text("task"),
                text("state")
            ));
        }
        steps
    }

    fn lines(&self, task: &Task) -> Vec<Value> {
        let text = self.log(task, LogKind::Result);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// A deploy.
    pub(crate) fn deploy(&self, manifest: &str) -> Work {
        self.deploy_with(
            manifest,
            Options {
                deploy: true,
                ..Options::default()
            },
        )
    }

    /// A deploy with options.
    pub(crate) fn deploy_with(&self, manifest: &str, options: Options) -> Work {
        Work::UpdateDeployment(UpdateDeployment {
            deployment: "shop".into(),
            manifest: manifest.into(),
            cloud_config_ids: vec![self.cloud_config],
            runtime_config_ids: Vec::new(),
            options,
        })
    }

    /// A change of state of what is deployed.
    pub(crate) async fn change_state(&self, options: Options) -> Work {
        let deployment = db::deployments::find(self.db(), "shop")
            .await
            .unwrap()
            .unwrap();
        self.deploy_with(&deployment.manifest.unwrap(), options)
    }

    /// Instances as the database has them.
    pub(crate) async fn instances(&self) -> Vec<db::instances::Instance> {
        let Some(deployment) = db::deployments::find(self.db(), "shop").await.unwrap() else {
            return Vec::new();
        };
        db::instances::by_deployment(self.db(), deployment.id)
            .await
            .unwrap()
    }

    /// What agents were asked so far is forgotten.
    pub(crate) fn forget(&self) {
        self.world.lock().unwrap().calls.clear();
    }

    /// VMs are what the database says, nothing more and nothing less.
    pub(crate) async fn nothing_leaks(&self) {
        let mut known: Vec<String> = db::vms::list(self.db())
            .await
            .unwrap()
            .into_iter()
            .map(|vm| vm.agent_id.unwrap())
            .collect();
        known.sort();
        assert_eq!(known, self.vms());
    }
}

async fn start(path: &Path) -> (Config, nats::Server) {
    let put = |name: &str, text: &str| -> PathBuf {
        let path = path.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let pair = |name: &str, credentials: &nats::Credentials| bosh_director::config::Tls {
        certificate: put(&format!("{name}.pem"), &credentials.certificate),
        private_key: put(&format!("{name}.key"), credentials.private_key.expose()),
    };
    let servers = nats::pki::Authority::generate("servers").unwrap();
    let clients = nats::pki::Authority::generate("clients").unwrap();
    let ca = pair("server-ca", &servers.credentials());
    let client_ca = pair("client-ca", &clients.credentials());
    let server = servers
        .server("nats", &[], &["127.0.0.1".parse().unwrap()])
        .unwrap();
    let own = pair(
        "director",
        &clients.client("default.director.bosh-internal").unwrap(),
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    drop(listener);
    let server = nats::Server::start(nats::Options {
        executable: None,
        directory: path.join("nats"),
        listen,
        tls: pair("server", &server),
        client_ca: client_ca.certificate.clone(),
    })
    .await
    .unwrap();
    let cpi = put("cpi", include_str!("cpi.sh"));
    std::fs::set_permissions(&cpi, std::fs::Permissions::from_mode(0o755)).unwrap();
    let yaml = json!({
        "name": "test",
        "listen": "127.0.0.1:0",
        "mbus": server.local_url(),
        "nats": {
            "server_ca_path": ca.certificate,
            "client_ca_certificate_path": client_ca.certificate,
            "client_ca_private_key_path": client_ca.private_key,
            "client_certificate_path": own.certificate,
            "client_private_key_path": own.private_key,
        },
        "dir": path,
        "db": { "adapter": "sqlite", "database": path.join("director.db") },
        "blobstore": { "provider": "local", "options": { "blobstore_path": path.join("blobs") } },
        "cloud": { "provider": { "name": "fake", "path": cpi } },
        "user_management": { "provider": "local", "local": { "users": [{ "name": "admin", "password": "secret" }] } },
        "local_dns": { "enabled": true },
        "record_events": true,
        "version": "1.0.0",
    });
    put("director.json", &yaml.to_string());
    let raw: raw::Director = serde_json::from_value(yaml).unwrap();
    let mut config = Config::resolve(raw).unwrap();
    config.agent_wait_timeout = Duration::from_secs(5);
    (config, server)
}

async fn assemble(
    config: &Config,
    server: &nats::Server,
    db: &Db,
    blobstore: &Store,
    key: &[u8],
) -> Director {
    let mut bus = agents::Options::new(&config.nats);
    bus.timeout = Duration::from_secs(1);
    Director::new(Parts {
        uuid: "2b7e7d0e-0000-4000-8000-000000000000".to_owned(),
        tasks: tasks::Handle::new(
            db.clone(),
            tasks::Options {
                directory: config.dir.clone(),
                record_events: true,
                version: "1.0.0".to_owned(),
            },
        ),
        agents: agents::Client::connect(&bus, Some(blobstore.clone()))
            .await
            .unwrap(),
        cpis: cpi::Registry::new(config.cpi.clone(), "uuid"),
        secrets: variables::Cipher::new(key).unwrap(),
        config_server: config
            .config_server
            .as_ref()
            .map(|config| variables::ConfigServer::new(config).unwrap()),
        templates: template::Pool::new(template::Options::default()),
        dns: dns::Publisher::default(),
        nats_ca: nats::ClientCa::load(&config.nats.client_ca).unwrap(),
        nats_server_ca: std::fs::read_to_string(&config.nats.server_ca).unwrap(),
        nats_users: server.users(),
        config: config.clone(),
        db: db.clone(),
        blobstore: blobstore.clone(),
    })
}
