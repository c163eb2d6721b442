//! The file as it is written.
//!
//! Every key is optional here, so that what is missing can be named in one go by `resolved`. Keys that nobody knows
//! end in `unknown` and are reported once. Keys marked "ours" do not exist upstream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

type Unknown = BTreeMap<String, Value>;

macro_rules! raw {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_attr:meta])* $field:ident: $kind:ty,)* })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, Deserialize, Serialize)]
            #[serde(default)]
            pub struct $name {
                $(
                    $(#[$field_attr])*
                    #[serde(skip_serializing_if = "Option::is_none")]
                    pub $field: Option<$kind>,
                )*
                /// Keys that this director does not know.
                #[serde(flatten)]
                pub unknown: Unknown,
            }

        )+
    };
}

raw! {
    /// The whole file.
    Director {
        /// The director's name, as `bosh env` shows it.
        name: String,
        /// Where this director runs.
        runtime: Runtime,
        /// Port of the plain HTTP API behind nginx.
        port: u16,
        /// Ours: `address:port` to listen on, instead of the loopback address and `port`.
        listen: String,
        /// Ours: serve the API with TLS, without nginx in front.
        tls: Tls,
        /// How many finished tasks of each type to keep.
        max_tasks: u64,
        /// How many things a task does at once.
        max_threads: u32,
        /// How many processes upstream's web server has; here, of no use.
        puma_workers: u32,
        /// Ours: how many tasks run at once in this process.
        workers: u32,
        /// Log level and file.
        logging: Logging,
        /// `nats://host:port`
        mbus: String,
        /// Where upstream keeps the report behind /director/certificate_expiry.
        director_certificate_expiry_json_path: String,
        /// Certificates for the message bus.
        nats: Nats,
        /// Task logs and temporary files go under this directory.
        dir: String,
        /// Ours: how much clients may send, and how slowly.
        limits: Limits,
        /// Disk snapshots.
        snapshots: Snapshots,
        /// How often to try `create_vm` when the CPI says that it is worth it.
        max_vm_create_tries: u32,
        /// Send rendered templates over the message bus instead of through the blobstore.
        enable_nats_delivered_templates: bool,
        /// For templates written for Ruby before 3.2.
        enable_pre_ruby_3_2_equal_tilde_behavior: bool,
        /// Replace an agent's first certificate once it is reached.
        enable_short_lived_nats_bootstrap_credentials: bool,
        /// The same on compilation VMs.
        enable_short_lived_nats_bootstrap_credentials_compilation_vms: bool,
        /// Grow disks through the CPI.
        enable_cpi_resize_disk: bool,
        /// Change disks through the CPI.
        enable_cpi_update_disk: bool,
        /// Give each VM a random password.
        generate_vm_passwords: bool,
        /// Remove compilers from VMs that do not compile.
        remove_dev_tools: bool,
        /// Write access events to the audit log.
        log_access_events: bool,
        /// Tell agents to forget the addresses of VMs that moved.
        flush_arp: bool,
        /// Networks made through the CPI.
        networks: Networks,
        /// DNS records for bosh-dns.
        local_dns: LocalDns,
        /// Directory of the audit log.
        audit_log_path: String,
        /// Solve problems of different instances at the same time.
        parallel_problem_resolution: bool,
        /// Errands may run on stopped instances.
        allow_errands_on_stopped_instances: bool,
        /// The metrics server's port.
        metrics_server: MetricsServer,
        /// The health monitor's port.
        health_monitor: HealthMonitor,
        /// The database.
        db: Database,
        /// CredHub.
        config_server: ConfigServer,
        /// What runs on a schedule.
        scheduled_jobs: Vec<ScheduledJob>,
        /// Days.
        tasks_retention_period: Value,
        /// `[{deployment, retention_period}]`
        tasks_deployments_retention_period: Value,
        /// Write events.
        record_events: bool,
        /// Keep VMs whose agent never answered, for a look inside.
        keep_unreachable_vms: bool,
        /// Do not delete VMs through the CPI.
        enable_virtual_delete_vms: bool,
        /// Resurrection.
        scan_and_fix: ScanAndFix,
        /// The root domain of DNS names.
        dns: Dns,
        /// Where blobs are.
        blobstore: Blobstore,
        /// Upstream's digest tool; digests are built in here.
        verify_multidigest_path: String,
        /// Shown by `bosh env`.
        version: String,
        /// Who may log in.
        user_management: UserManagement,
        /// Accept networks without a gateway.
        ignore_missing_gateway: bool,
        /// PEM certificates that every VM trusts.
        trusted_certs: String,
        /// `bosh ssh` through a gateway.
        default_ssh_options: SshGateway,
        /// Versions of the CPI contract.
        cpi: Cpi,
        /// The default CPI.
        cloud: Cloud,
        /// What every agent is told.
        agent: Agent,
        /// `create-swap-delete` or `delete-create`
        default_update_vm_strategy: String,
        /// Ours: the health monitor, started and watched by the director.
        monitor: Monitor,
        /// Ours: the file of the key that variables are encrypted with; `encryption.key` in `dir` when absent, made if
        /// need be.
        encryption_key_path: String,
        /// Ours: the id of this director; only for tests.
        uuid: String,
    }

    /// `runtime`
    Runtime {
        /// An address of the director.
        ip: String,
        /// `group/id` of the instance the director runs on.
        instance: String,
    }

    /// Ours: `tls`
    Tls {
        /// Path of the PEM certificate chain.
        certificate: String,
        /// Path of the PEM private key.
        private_key: String,
    }

    /// `logging`
    Logging {
        /// debug, info, warn or error.
        level: String,
        /// Standard output when absent.
        file: String,
    }

    /// `nats`: paths of PEM files.
    Nats {
        /// The CA that signed the server's certificate.
        server_ca_path: String,
        /// The CA that signs agents' certificates.
        client_ca_certificate_path: String,
        /// Its key.
        client_ca_private_key_path: String,
        /// The director's own certificate.
        client_certificate_path: String,
        /// Its key.
        client_private_key_path: String,
        /// Ours: run nats-server as a child of the director.
        server: NatsServer,
    }

    /// Ours: `nats.server`
    NatsServer {
        /// The program; found on the PATH when absent.
        executable: String,
        /// Its configuration, user file and log.
        directory: String,
        /// `address:port`
        listen: String,
        /// Path of the server's PEM certificate.
        certificate_path: String,
        /// Path of its key.
        private_key_path: String,
        /// Path of the CA that signed the clients' certificates; the client CA when absent.
        ca_path: String,
    }

    /// Ours: `limits`
    Limits {
        /// Most bytes of a request's body, uploads apart. 64 MiB.
        max_body_size: u64,
        /// Most bytes of an uploaded release or stemcell. Upstream's nginx: 10000 MB.
        max_upload_size: u64,
        /// Bytes a second that a body must come with on average. 1024.
        min_body_rate: u64,
        /// Seconds that a body may take whatever its rate. 60.
        body_grace: u64,
        /// Most entries of an archive. 1,000,000.
        max_archive_entries: u64,
        /// Bytes that any archive may unpack to, however small it is. 1 GiB.
        free_archive_size: u64,
        /// How many times its size an archive may unpack to beyond that. 1200.
        max_archive_ratio: u64,
    }

    /// `snapshots`
    Snapshots {
        /// Off unless true.
        enabled: bool,
    }

    /// `networks`
    Networks {
        /// Off unless true.
        enable_cpi_management: bool,
    }

    /// `local_dns`
    LocalDns {
        /// Publish records to agents.
        enabled: bool,
        /// Also records by index.
        include_index: bool,
        /// Links and templates get names instead of addresses.
        use_dns_addresses: bool,
    }

    /// `metrics_server`
    MetricsServer {
        /// Off unless true.
        enabled: bool,
        /// Port on the loopback address.
        port: u16,
    }

    /// `health_monitor`
    HealthMonitor {
        /// Port on the loopback address.
        port: u16,
    }

    /// `db`
    Database {
        /// `postgres`, `sqlite` (ours) or `mysql2` (refused).
        adapter: String,
        /// User name.
        user: String,
        /// Password.
        password: String,
        /// Host name.
        host: String,
        /// Port.
        port: u16,
        /// Database name; the path of the file for SQLite.
        database: String,
        /// `max_connections` and what else Sequel takes.
        connection_options: Map<String, Value>,
        /// Seconds to wait for the database when starting.
        connection_wait_timeout: u64,
        /// TLS to the database.
        tls: DatabaseTls,
    }

    /// `db.tls`
    DatabaseTls {
        /// Off unless true.
        enabled: bool,
        /// Do not check the host name.
        skip_host_verify: bool,
        /// Paths of PEM files.
        cert: DatabaseCert,
        /// Which of them are there.
        bosh_internal: DatabaseTlsParts,
    }

    /// `db.tls.cert`
    DatabaseCert {
        /// CA.
        ca: String,
        /// Client certificate.
        certificate: String,
        /// Its key.
        private_key: String,
    }

    /// `db.tls.bosh_internal`
    DatabaseTlsParts {
        /// `cert.ca` was given.
        ca_provided: bool,
        /// `cert.certificate` was given.
        mutual_tls_enabled: bool,
    }

    /// `config_server`
    ConfigServer {
        /// Off unless true.
        enabled: bool,
        /// https only.
        url: String,
        /// Path of its CA.
        ca_cert_path: String,
        /// How to log in to it.
        uaa: ConfigServerUaa,
    }

    /// `config_server.uaa`
    ConfigServerUaa {
        /// UAA.
        url: String,
        /// Client.
        client_id: String,
        /// Its secret.
        client_secret: String,
        /// Path of its CA.
        ca_cert_path: String,
        /// PEM public key.
        public_key: String,
    }

    /// One of `scheduled_jobs`
    ScheduledJob {
        /// Upstream's job class, such as `ScheduledEventsCleanup`.
        command: String,
        /// Cron line of rufus-scheduler: five or six fields, perhaps a time zone.
        schedule: String,
        /// The job's arguments.
        params: Vec<Value>,
    }

    /// `scan_and_fix`
    ScanAndFix {
        /// Also instances with persistent disks.
        auto_fix_stateful_nodes: bool,
    }

    /// `dns`
    Dns {
        /// `bosh` when absent.
        domain_name: String,
    }

    /// `blobstore`
    Blobstore {
        /// `davcli`, `s3cli`, `gcscli`, `azurestoragecli`, `local`.
        provider: String,
        /// What that provider needs.
        options: Map<String, Value>,
        /// Ours: serve blobs from this process.
        server: BlobstoreServer,
    }

    /// Ours: `blobstore.server`
    BlobstoreServer {
        /// `address:port`
        listen: String,
        /// Where the blobs are.
        directory: String,
        /// Path of the PEM certificate chain.
        certificate_path: String,
        /// Path of the PEM private key.
        private_key_path: String,
        /// May read and write.
        director: Account,
        /// May read and write too; of no use when agents get signed URLs.
        agent: Account,
        /// Signs URLs.
        secret: String,
    }

    /// A user of the embedded blobstore.
    Account {
        /// Name.
        user: String,
        /// Password.
        password: String,
    }

    /// `user_management`
    UserManagement {
        /// `local` or `uaa`.
        provider: String,
        /// Local users.
        local: LocalUsers,
        /// UAA.
        uaa: Uaa,
    }

    /// `user_management.local`
    LocalUsers {
        /// Everyone who may log in.
        users: Vec<LocalUser>,
    }

    /// One of `user_management.local.users`
    LocalUser {
        /// Name.
        name: String,
        /// Password.
        password: String,
        /// UAA-like scopes; `bosh.admin` when absent.
        scopes: Vec<String>,
    }

    /// `user_management.uaa`
    Uaa {
        /// One UAA.
        url: String,
        /// Or more of them.
        urls: Vec<String>,
        /// Key of HMAC tokens.
        symmetric_key: String,
        /// PEM key of RSA tokens.
        public_key: String,
    }

    /// `default_ssh_options`
    SshGateway {
        /// Host.
        gateway_host: String,
        /// User on it.
        gateway_user: String,
    }

    /// `cpi`
    Cpi {
        /// Newest version of the contract that the director speaks.
        max_supported_api_version: u32,
        /// Newest version that it should use.
        preferred_api_version: u32,
        /// Ours: how many calls of one CPI run at once.
        concurrency: u32,
        /// Ours: seconds that a call may take.
        timeout: u64,
    }

    /// `cloud`
    Cloud {
        /// The default CPI.
        provider: CloudProvider,
        /// Not read any more, here and upstream.
        properties: Map<String, Value>,
    }

    /// `cloud.provider`
    CloudProvider {
        /// The CPI's name, as `bosh env` shows it.
        name: String,
        /// Its program.
        path: String,
    }

    /// `agent`
    Agent {
        /// `{"bosh": {..}}`, the environment of every VM.
        env: AgentEnv,
        /// Seconds to wait for a new VM's agent.
        agent_wait_timeout: u64,
    }

    /// `agent.env`
    AgentEnv {
        /// `blobstores`, `ntp`, `mbus` and what else agents take.
        bosh: Map<String, Value>,
    }

    /// Ours: `monitor`
    Monitor {
        /// The program; beside this one, or found on the PATH, when absent.
        executable: String,
        /// Its health_monitor.yml.
        config: String,
        /// Its log file.
        log: String,
    }
}

impl Director {
    /// Dotted paths of keys that this director does not know, sorted.
    pub fn unknown_keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        report(&self.unknown, "", &mut found);
        macro_rules! sections {
            ($($section:ident),*) => {
                $(if let Some(section) = &self.$section {
                    report(&section.unknown, concat!(stringify!($section), "."), &mut found);
                })*
            };
        }
        sections!(
            runtime,
            tls,
            logging,
            nats,
            limits,
            snapshots,
            networks,
            local_dns,
            metrics_server,
            health_monitor,
            db,
            config_server,
            scan_and_fix,
            dns,
            blobstore,
            user_management,
            default_ssh_options,
            cpi,
            cloud,
            agent,
            monitor
        );
        if let Some(server) = self.nats.as_ref().and_then(|nats| nats.server.as_ref()) {
            report(&server.unknown, "nats.server.", &mut found);
        }
        if let Some(server) = self
            .blobstore
            .as_ref()
            .and_then(|store| store.server.as_ref())
        {
            report(&server.unknown, "blobstore.server.", &mut found);
        }
        found.sort();
        found
    }
}

fn report(unknown: &Unknown, at: &str, found: &mut Vec<String>) {
    found.extend(unknown.keys().map(|key| format!("{at}{key}")));
}
