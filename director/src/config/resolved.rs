//! What of director.yml was validated.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bosh_protocol::Secret;
use serde_json::{Map, Value};

use super::raw;
use super::sections::*;

/// Why director.yml cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is not YAML, or a key has a value of the wrong type.
    #[error("parse {}", .0.display())]
    Parse(PathBuf, #[source] serde_yaml_ng::Error),
    /// A key is missing or its value cannot be used.
    #[error("key '{key}': {expected}")]
    Key {
        /// Dotted path.
        key: &'static str,
        /// What should be there.
        expected: String,
    },
}

/// The director's configuration. Defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Config {
    /// The director's name.
    pub name: String,
    /// An address of the director.
    pub runtime_ip: String,
    /// `group/id` of the instance the director runs on.
    pub runtime_instance: String,
    /// Fixed id instead of the one in the database; only for tests.
    pub uuid: Option<String>,
    /// Where the API listens, and whether with TLS.
    pub listen: Listen,
    /// How many finished tasks of each type to keep.
    pub max_tasks: u64,
    /// How long to keep finished tasks, in days, when set.
    pub tasks_retention_period: Option<f64>,
    /// The same by deployment.
    pub tasks_deployments_retention_period: BTreeMap<String, f64>,
    /// How many things a task does at once.
    pub max_threads: usize,
    /// How many tasks run at once in this process.
    pub workers: usize,
    /// `tracing` directives.
    pub log_level: String,
    /// The log file; standard output when none.
    pub log_file: Option<PathBuf>,
    /// The message bus.
    pub nats: Nats,
    /// Task logs and temporary files go under this directory.
    pub dir: PathBuf,
    /// The file of the key that variables are encrypted with; made if need be.
    pub encryption_key: PathBuf,
    /// How much clients may send, and how slowly.
    pub limits: Limits,
    /// Take snapshots of disks.
    pub enable_snapshots: bool,
    /// How often to try `create_vm` when the CPI says that it is worth it.
    pub max_vm_create_tries: u32,
    /// Send rendered templates over the message bus.
    pub enable_nats_delivered_templates: bool,
    /// For templates written for Ruby before 3.2.
    pub enable_pre_ruby_3_2_equal_tilde_behavior: bool,
    /// Replace an agent's first certificate once it is reached.
    pub enable_short_lived_nats_bootstrap_credentials: bool,
    /// The same on compilation VMs.
    pub enable_short_lived_nats_bootstrap_credentials_compilation_vms: bool,
    /// Grow disks through the CPI.
    pub enable_cpi_resize_disk: bool,
    /// Change disks through the CPI.
    pub enable_cpi_update_disk: bool,
    /// Give each VM a random password.
    pub generate_vm_passwords: bool,
    /// Remove compilers from VMs that do not compile.
    pub remove_dev_tools: bool,
    /// Write access events to the audit log.
    pub log_access_events: bool,
    /// Tell agents to forget the addresses of VMs that moved.
    pub flush_arp: bool,
    /// Make networks through the CPI.
    pub enable_cpi_network_management: bool,
    /// DNS records for bosh-dns.
    pub local_dns: LocalDns,
    /// Directory of the audit log.
    pub audit_log_path: Option<PathBuf>,
    /// Solve problems of different instances at the same time.
    pub parallel_problem_resolution: bool,
    /// Errands may run on stopped instances.
    pub allow_errands_on_stopped_instances: bool,
    /// Port of the metrics server on the loopback address, when enabled.
    pub metrics_port: Option<u16>,
    /// The health monitor's HTTP interface.
    pub health_monitor: HealthMonitor,
    /// The database.
    pub db: Database,
    /// CredHub, when enabled.
    pub config_server: Option<ConfigServer>,
    /// What runs on a schedule.
    pub scheduled_jobs: Vec<ScheduledJob>,
    /// Write events.
    pub record_events: bool,
    /// Keep VMs whose agent never answered.
    pub keep_unreachable_vms: bool,
    /// Do not delete VMs through the CPI.
    pub enable_virtual_delete_vms: bool,
    /// Resurrect instances with persistent disks too.
    pub fix_stateful_nodes: bool,
    /// The root domain of DNS names.
    pub root_domain: String,
    /// Where blobs are.
    pub blobstore: Blobstore,
    /// Shown by `bosh env`.
    pub version: String,
    /// Who may log in.
    pub user_management: UserManagement,
    /// Accept networks without a gateway.
    pub ignore_missing_gateway: bool,
    /// PEM certificates that every VM trusts.
    pub trusted_certs: String,
    /// `bosh ssh` through a gateway.
    pub default_ssh_options: Option<SshGateway>,
    /// The default CPI and how CPIs are called.
    pub cpi: Cpi,
    /// `env.bosh` of every VM: `blobstores`, `ntp`, `mbus` and what else agents take.
    pub agent_env: Map<String, Value>,
    /// How long to wait for a new VM's agent.
    pub agent_wait_timeout: Duration,
    /// `create-swap-delete` or `delete-create`, when set.
    pub default_update_vm_strategy: Option<String>,
    /// Where the report behind /director/certificate_expiry is.
    pub certificate_expiry_json_path: Option<PathBuf>,
    /// The health monitor, when the director starts it.
    pub monitor: Option<Monitor>,
    /// Dotted paths of keys that this director does not know; worth a line in the log.
    pub unknown_keys: Vec<String>,
}

/// `limits`: how much clients may send, and how slowly.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a request's body, uploads apart.
    pub body: usize,
    /// Most bytes of an uploaded release or stemcell.
    pub upload: u64,
    /// Bytes a second that a body must come with on average.
    pub body_rate: u64,
    /// How long a body may take whatever its rate.
    pub body_grace: Duration,
    /// Most entries of an archive.
    pub archive_entries: usize,
    /// Bytes that any archive may unpack to, however small it is.
    pub archive_free: u64,
    /// How many times its size an archive may unpack to beyond that.
    pub archive_ratio: u64,
}

impl Default for Limits {
    fn default() -> Self {
        limits(raw::Limits::default())
    }
}

fn limits(raw: raw::Limits) -> Limits {
    let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    Limits {
        body: size(raw.max_body_size.unwrap_or(64 << 20)),
        upload: raw.max_upload_size.unwrap_or(10_000 << 20),
        body_rate: raw.min_body_rate.unwrap_or(1024).max(1),
        body_grace: Duration::from_secs(raw.body_grace.unwrap_or(60)),
        archive_entries: size(raw.max_archive_entries.unwrap_or(1_000_000)),
        archive_free: raw.free_archive_size.unwrap_or(1 << 30),
        archive_ratio: raw.max_archive_ratio.unwrap_or(1_200),
    }
}

/// Where the API listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Plain HTTP when none: nginx is in front.
    pub tls: Option<Tls>,
}

/// Paths of PEM files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub private_key: PathBuf,
}

/// The message bus. Paths are of PEM files.
#[derive(Clone, Debug)]
pub struct Nats {
    /// `nats://host:port`, also what agents are told unless `agent.env.bosh.mbus` says otherwise.
    pub url: String,
    /// The CA that signed the server's certificate.
    pub server_ca: PathBuf,
    /// The CA that signs agents' certificates.
    pub client_ca: Tls,
    /// The director's own certificate.
    pub client: Tls,
    /// nats-server as a child of this process, when it is one.
    pub server: Option<NatsServer>,
}

/// nats-server as a child of this process.
#[derive(Clone, Debug)]
pub struct NatsServer {
    /// The program; found on the PATH when none.
    pub executable: Option<PathBuf>,
    /// Its configuration, user file and log.
    pub directory: PathBuf,
    /// Address and port.
    pub listen: SocketAddr,
    /// Its certificate.
    pub tls: Tls,
}

/// `local_dns`
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDns {
    /// Publish records to agents.
    pub enabled: bool,
    /// Also records by index.
    pub include_index: bool,
    /// Links and templates get names instead of addresses.
    pub use_dns_addresses: bool,
}

/// The health monitor's HTTP interface.
#[derive(Clone, Copy, Debug)]
pub struct HealthMonitor {
    /// Port on the loopback address.
    pub port: u16,
}

/// The database.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file.
    Sqlite {
        /// Its path.
        path: PathBuf,
    },
    /// A server.
    Postgres {
        /// `postgres://user:password@host:port/name?sslmode=..`
        url: Secret,
        /// Largest number of connections.
        max_connections: u32,
        /// How long to wait for it when starting.
        wait: Duration,
    },
}

/// CredHub.
#[derive(Clone, Debug)]
pub struct ConfigServer {
    /// https only.
    pub url: String,
    /// Path of its CA.
    pub ca_cert_path: Option<PathBuf>,
    /// UAA to log in to.
    pub uaa_url: String,
    /// Client.
    pub uaa_client_id: String,
    /// Its secret.
    pub uaa_client_secret: Secret,
    /// Path of UAA's CA.
    pub uaa_ca_cert_path: Option<PathBuf>,
}

/// Something that runs on a schedule.
#[derive(Clone, Debug)]
pub struct ScheduledJob {
    /// Upstream's job class.
    pub command: String,
    /// Cron line of rufus-scheduler.
    pub schedule: String,
    /// The job's arguments.
    pub params: Vec<Value>,
}

/// Where blobs are.
#[derive(Clone, Debug)]
pub struct Blobstore {
    /// Upstream's provider name: `davcli`, `s3cli`, `gcscli`, `azurestoragecli` or `local`; never printed with its
    /// options, which hold credentials.
    pub provider: String,
    /// What that provider needs.
    pub options: Options,
    /// Serve blobs from this process.
    pub server: Option<BlobstoreServer>,
}

/// A provider's options, which hold credentials.
#[derive(Clone, Default)]
pub struct Options(pub Map<String, Value>);

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Blobs served from this process.
#[derive(Clone, Debug)]
pub struct BlobstoreServer {
    /// Address and port.
    pub listen: SocketAddr,
    /// Where the blobs are.
    pub directory: PathBuf,
    /// The server's certificate.
    pub tls: Tls,
    /// Names and passwords that may read and write.
    pub accounts: Vec<(String, Secret)>,
    /// Signs URLs.
    pub secret: Secret,
}

/// Who may log in.
#[derive(Clone, Debug)]
pub enum UserManagement {
    /// Names and passwords.
    Local(Vec<LocalUser>),
    /// Tokens.
    Uaa(Uaa),
}

/// A local user.
#[derive(Clone, Debug)]
pub struct LocalUser {
    /// Name.
    pub name: String,
    /// Password.
    pub password: Secret,
    /// UAA-like scopes.
    pub scopes: Vec<String>,
}

/// UAA, whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Uaa {
    /// The first is the one clients are told.
    pub urls: Vec<String>,
    /// Key of HMAC tokens.
    pub symmetric_key: Option<Secret>,
    /// PEM key of RSA tokens.
    pub public_key: Option<String>,
}

/// `bosh ssh` through a gateway.
#[derive(Clone, Debug)]
pub struct SshGateway {
    /// Host.
    pub host: String,
    /// User on it.
    pub user: String,
}

/// The default CPI and how CPIs are called.
#[derive(Clone, Debug)]
pub struct Cpi {
    /// The default CPI's name, as `bosh env` shows it.
    pub name: String,
    /// Its program.
    pub path: PathBuf,
    /// Newest version of the contract to use.
    pub preferred_api_version: u32,
    /// How many calls of one CPI run at once.
    pub concurrency: usize,
    /// How long a call may take.
    pub timeout: Duration,
    /// Where calls that make something are kept until it is in the database: `cpi-calls` in `dir`.
    pub journal: Option<PathBuf>,
}

/// The health monitor, started by the director.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// The program; beside this one, or found on the PATH, when none.
    pub executable: Option<PathBuf>,
    /// Its health_monitor.yml.
    pub config: PathBuf,
    /// Its log file.
    pub log: PathBuf,
}

impl Config {
    /// Reads and validates director.yml.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::Read(path.to_path_buf(), e))?;
        let raw: raw::Director =
            serde_yaml_ng::from_str(&text).map_err(|e| Error::Parse(path.to_path_buf(), e))?;
        Self::resolve(raw)
    }

    /// Validates what was read.
    pub fn resolve(raw: raw::Director) -> Result<Self, Error> {
        let unknown_keys = raw.unknown_keys();
        let runtime = raw.runtime.unwrap_or_default();
        let logging = raw.logging.unwrap_or_default();
        let local_dns = raw.local_dns.unwrap_or_default();
        let agent = raw.agent.unwrap_or_default();
        let metrics = raw.metrics_server.unwrap_or_default();
        let dir = raw
            .dir
            .map(PathBuf::from)
            .ok_or_else(|| key("dir", "expected the path of a directory"))?;
        let cpi = cpi(
            raw.cpi.unwrap_or_default(),
            raw.cloud.unwrap_or_default(),
            &dir,
        )?;
        Ok(Self {
            encryption_key: raw
                .encryption_key_path
                .map_or_else(|| dir.join("encryption.key"), PathBuf::from),
            name: raw.name.unwrap_or_default(),
            runtime_ip: runtime.ip.unwrap_or_else(|| "127.0.0.1".to_string()),
            runtime_instance: runtime.instance.unwrap_or_else(|| "unknown".to_string()),
            uuid: raw.uuid,
            listen: listen(raw.listen, raw.port, raw.tls)?,
            max_tasks: raw.max_tasks.unwrap_or(2000),
            tasks_retention_period: raw
                .tasks_retention_period
                .map(|value| days("tasks_retention_period", &value))
                .transpose()?,
            tasks_deployments_retention_period: raw
                .tasks_deployments_retention_period
                .map(by_deployment)
                .transpose()?
                .unwrap_or_default(),
            max_threads: raw.max_threads.unwrap_or(32).max(1) as usize,
            workers: raw.workers.unwrap_or(3).max(1) as usize,
            log_level: logging
                .level
                .unwrap_or_else(|| "info".to_string())
                .to_lowercase(),
            log_file: logging.file.map(PathBuf::from),
            nats: nats(raw.nats.unwrap_or_default(), raw.mbus)?,
            dir,
            limits: limits(raw.limits.unwrap_or_default()),
            enable_snapshots: raw.snapshots.and_then(|s| s.enabled).unwrap_or(false),
            max_vm_create_tries: raw.max_vm_create_tries.unwrap_or(5).max(1),
            enable_nats_delivered_templates: raw.enable_nats_delivered_templates.unwrap_or(false),
            enable_pre_ruby_3_2_equal_tilde_behavior: raw
                .enable_pre_ruby_3_2_equal_tilde_behavior
                .unwrap_or(false),
            enable_short_lived_nats_bootstrap_credentials: raw
                .enable_short_lived_nats_bootstrap_credentials
                .unwrap_or(true),
            enable_short_lived_nats_bootstrap_credentials_compilation_vms: raw
                .enable_short_lived_nats_bootstrap_credentials_compilation_vms
                .unwrap_or(false),
            enable_cpi_resize_disk: raw.enable_cpi_resize_disk.unwrap_or(false),
            enable_cpi_update_disk: raw.enable_cpi_update_disk.unwrap_or(false),
            generate_vm_passwords: raw.generate_vm_passwords.unwrap_or(false),
            remove_dev_tools: raw.remove_dev_tools.unwrap_or(false),
            log_access_events: raw.log_access_events.unwrap_or(false),
            flush_arp: raw.flush_arp.unwrap_or(false),
            enable_cpi_network_management: raw
                .networks
                .and_then(|n| n.enable_cpi_management)
                .unwrap_or(false),
            local_dns: LocalDns {
                enabled: local_dns.enabled.unwrap_or(false),
                include_index: local_dns.include_index.unwrap_or(false),
                use_dns_addresses: local_dns.use_dns_addresses.unwrap_or(false),
            },
            audit_log_path: raw.audit_log_path.map(PathBuf::from),
            parallel_problem_resolution: raw.parallel_problem_resolution.unwrap_or(true),
            allow_errands_on_stopped_instances: raw
                .allow_errands_on_stopped_instances
                .unwrap_or(false),
            metrics_port: metrics
                .enabled
                .unwrap_or(false)
                .then(|| metrics.port.unwrap_or(9091)),
            health_monitor: HealthMonitor {
                port: raw.health_monitor.and_then(|h| h.port).unwrap_or(25923),
            },
            db: database(raw.db.unwrap_or_default())?,
            config_server: config_server(raw.config_server.unwrap_or_default())?,
            scheduled_jobs: scheduled_jobs(raw.scheduled_jobs.unwrap_or_default())?,
            record_events: raw.record_events.unwrap_or(false),
            keep_unreachable_vms: raw.keep_unreachable_vms.unwrap_or(false),
            enable_virtual_delete_vms: raw.enable_virtual_delete_vms.unwrap_or(false),
            fix_stateful_nodes: raw
                .scan_and_fix
                .and_then(|s| s.auto_fix_stateful_nodes)
                .unwrap_or(false),
            root_domain: raw
                .dns
                .and_then(|d| d.domain_name)
                .unwrap_or_else(|| "bosh".to_string()),
            blobstore: blobstore(raw.blobstore.unwrap_or_default())?,
            version: raw
                .version
                .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_string()),
            user_management: user_management(raw.user_management.unwrap_or_default())?,
            ignore_missing_gateway: raw.ignore_missing_gateway.unwrap_or(false),
            trusted_certs: raw.trusted_certs.unwrap_or_default(),
            default_ssh_options: raw.default_ssh_options.and_then(|ssh| {
                Some(SshGateway {
                    host: ssh.gateway_host?,
                    user: ssh.gateway_user?,
                })
            }),
            cpi,
            agent_env: agent.env.and_then(|env| env.bosh).unwrap_or_default(),
            agent_wait_timeout: Duration::from_secs(agent.agent_wait_timeout.unwrap_or(600)),
            default_update_vm_strategy: raw.default_update_vm_strategy,
            certificate_expiry_json_path: raw
                .director_certificate_expiry_json_path
                .map(PathBuf::from),
            monitor: raw.monitor.map(monitor).transpose()?,
            unknown_keys,
        })
    }

    /// Where task logs are.
    pub fn tasks_dir(&self) -> PathBuf {
        self.dir.join("tasks")
    }
}
