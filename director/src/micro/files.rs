//! The files under DIR.
//!
//! | path | what |
//! |---|---|
//! | micro.json | what was decided, secrets included |
//! | config/ | director.yml, health_monitor.yml, cpi.json, cloud-config.yml; written anew at each start |
//! | tls/ | CAs, certificates and keys; made once |
//! | bin/cpi | the CPI as the director runs it |
//! | store/ | database, blobs, tasks |
//! | nats/ | nats-server's files |
//! | vms/ | the CPI's files |
//! | log/ | logs |

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::machine::Programs;
use super::{Options, State};
use crate::nats::Credentials;
use crate::nats::pki::Authority;

/// Certificates of the message bus, by the names upstream's operators know.
const NATS_SERVER: &str = "default.nats.bosh-internal";
const DIRECTOR_CLIENT: &str = "default.director.bosh-internal";
const MONITOR_CLIENT: &str = "default.hm.bosh-internal";

pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn director_yml(&self) -> PathBuf {
        self.dir.join("config/director.yml")
    }

    pub(super) fn cpi_json(&self) -> PathBuf {
        self.dir.join("config/cpi.json")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.tls("ca.pem")
    }

    pub(super) fn nats_dir(&self) -> PathBuf {
        self.dir.join("nats")
    }

    pub(super) fn monitor_yml(&self) -> PathBuf {
        self.dir.join("config/health_monitor.yml")
    }

    pub(super) fn monitor_pid(&self) -> PathBuf {
        self.dir.join("log/monitor.pid")
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.dir.join("tls").join(name)
    }

    fn text(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }

    /// Makes the directories, the certificates if there are none, and the configuration.
    pub(super) fn write(
        &self,
        options: &Options,
        state: &State,
        programs: &Programs,
    ) -> anyhow::Result<()> {
        for folder in ["config", "tls", "bin", "store/blobs", "nats", "vms", "log"] {
            let folder = self.dir.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("make directory {}", folder.display()))?;
        }
        self.certificates(options)?;
        self.cpi(options, programs)?;
        let ca = fs::read_to_string(self.ca()).context("read the CA's certificate")?;
        let director = self.director(options, state, programs, &ca);
        write_secret(&self.director_yml(), &serde_yaml_ng::to_string(&director)?)?;
        let monitor = self.monitor(options, state)?;
        write_secret(&self.monitor_yml(), &serde_yaml_ng::to_string(&monitor)?)?;
        write(
            &self.dir.join("config/cloud-config.yml"),
            &cloud_config(options),
        )
    }

    /// One CA for servers and one for clients of the message bus, as upstream has it: an agent's certificate must not
    /// be good for posing as the director.
    fn certificates(&self, options: &Options) -> anyhow::Result<()> {
        // Written last, so that a set that is not whole is made anew.
        let done = self.tls("done");
        if done.exists() {
            return Ok(());
        }
        let addresses: Vec<IpAddr> = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(options.gateway()),
            options.local(),
        ]
        .into_iter()
        .collect();
        let ca = Authority::generate("bosh-director")?;
        self.put("ca", &ca.credentials())?;
        self.put(
            "director",
            &ca.server("director", &["localhost"], &addresses)?,
        )?;
        self.put(
            "blobstore",
            &ca.server("blobstore", &["localhost"], &addresses)?,
        )?;
        self.put(
            "nats_server",
            &ca.server(NATS_SERVER, &["localhost", NATS_SERVER], &addresses)?,
        )?;
        let clients = Authority::generate("default.nats-ca.bosh-internal")?;
        self.put("nats_client_ca", &clients.credentials())?;
        self.put("nats_director", &clients.client(DIRECTOR_CLIENT)?)?;
        self.put("nats_monitor", &clients.client(MONITOR_CLIENT)?)?;
        write(&done, "")
    }

    fn put(&self, name: &str, credentials: &Credentials) -> anyhow::Result<()> {
        write(&self.tls(&format!("{name}.pem")), &credentials.certificate)?;
        write_secret(
            &self.tls(&format!("{name}.key")),
            credentials.private_key.expose(),
        )
    }

    fn cpi(&self, options: &Options, programs: &Programs) -> anyhow::Result<()> {
        let config = json!({
            "root": self.text("vms"),
            "agent": {"mbus": nats_url(options)},
            "network": {
                "bridge": options.bridge,
                "gateway": format!("{}/{}", options.gateway(), options.subnet.bits()),
                "nat": options.nat,
            },
        });
        write_secret(&self.cpi_json(), &serde_json::to_string_pretty(&config)?)?;
        let script = format!(
            "#!/bin/sh\nexec {} --config {}\n",
            quote(&programs.cpi.display().to_string()),
            quote(&self.cpi_json().display().to_string()),
        );
        let path = self.dir.join("bin/cpi");
        write(&path, &script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {} executable", path.display()))
    }

    fn director(&self, options: &Options, state: &State, programs: &Programs, ca: &str) -> Value {
        let endpoint = format!("https://{}:{}", options.gateway(), options.blobstore_port);
        json!({
            "name": state.director_name,
            "runtime": {"ip": options.gateway().to_string(), "instance": "director/0"},
            "listen": options.listen_on(options.director_port).to_string(),
            "tls": {"certificate": self.text("tls/director.pem"), "private_key": self.text("tls/director.key")},
            "logging": {"level": options.log_level},
            "mbus": format!("nats://{}:{}", options.local(), options.nats_port),
            "nats": {
                "server_ca_path": self.text("tls/ca.pem"),
                "client_ca_certificate_path": self.text("tls/nats_client_ca.pem"),
                "client_ca_private_key_path": self.text("tls/nats_client_ca.key"),
                "client_certificate_path": self.text("tls/nats_director.pem"),
                "client_private_key_path": self.text("tls/nats_director.key"),
                "server": {
                    "executable": programs.nats_server.display().to_string(),
                    "directory": self.text("nats"),
                    "listen": options.listen_on(options.nats_port).to_string(),
                    "certificate_path": self.text("tls/nats_server.pem"),
                    "private_key_path": self.text("tls/nats_server.key"),
                },
            },
            "dir": self.text("store"),
            "db": {"adapter": "sqlite", "database": self.text("store/director.db")},
            "blobstore": {
                "provider": "davcli",
                "options": {
                    "endpoint": endpoint,
                    "user": "director",
                    "password": state.blobstore_director_password,
                    "tls": {"cert": {"ca": ca}},
                    "enable_signed_urls": true,
                    "secret": state.blobstore_secret,
                },
                "server": {
                    "listen": options.listen_on(options.blobstore_port).to_string(),
                    "directory": self.text("store/blobs"),
                    "certificate_path": self.text("tls/blobstore.pem"),
                    "private_key_path": self.text("tls/blobstore.key"),
                    "director": {"user": "director", "password": state.blobstore_director_password},
                    "agent": {"user": "agent", "password": state.blobstore_agent_password},
                    "secret": state.blobstore_secret,
                },
            },
            "cloud": {"provider": {"name": "local", "path": self.text("bin/cpi")}},
            "cpi": {"max_supported_api_version": 3, "preferred_api_version": 3},
            "agent": {
                "env": {"bosh": {
                    "mbus": {"urls": [nats_url(options)]},
                    "blobstores": [{
                        "provider": "dav",
                        "options": {
                            "endpoint": endpoint,
                            "user": "agent",
                            "password": state.blobstore_agent_password,
                            "tls": {"cert": {"ca": ca}},
                        },
                    }],
                    "ntp": [],
                }},
                "agent_wait_timeout": 600,
            },
            "user_management": {"provider": "local", "local": {"users": [
                {"name": "admin", "password": state.admin_password},
                {"name": "hm", "password": state.monitor_password},
            ]}},
            "snapshots": {"enabled": true},
            "local_dns": {"enabled": true, "include_index": false, "use_dns_addresses": false},
            "record_events": true,
            "scan_and_fix": {"auto_fix_stateful_nodes": true},
            "health_monitor": {"port": options.monitor_port},
            "monitor": {"executable": programs.monitor.display().to_string(), "config": self.text("config/health_monitor.yml"), "log": self.text("log/monitor.log")},
        })
    }

    /// Upstream: `jobs/health_monitor/templates/health_monitor.yml.erb` and the defaults of its spec.
    fn monitor(&self, options: &Options, state: &State) -> anyhow::Result<Value> {
        let director = json!({
            "endpoint": format!("https://{}:{}", options.local(), options.director_port),
            "user": "hm",
            "password": state.monitor_password,
            "client_id": "",
            "client_secret": "",
            "director_ca_cert": self.text("tls/ca.pem"),
        });
        let mut config = json!({
            "http": {"port": options.monitor_port},
            "mbus": {
                "endpoint": format!("nats://{}:{}", options.local(), options.nats_port),
                "server_ca_path": self.text("tls/ca.pem"),
                "client_certificate_path": self.text("tls/nats_monitor.pem"),
                "client_private_key_path": self.text("tls/nats_monitor.key"),
                "connection_wait_timeout": 60,
            },
            "director": director,
            "intervals": {
                "prune_events": 30,
                "poll_director": 10,
                "poll_grace_period": 30,
                "log_stats": 60,
                "analyze_agents": 10,
                "agent_timeout": 60,
                "rogue_agent_alert": 120,
                "analyze_instances": 10,
            },
            "loglevel": "info",
            "plugins": [
                {"name": "logger", "events": ["alert"]},
                {"name": "event_logger", "events": ["alert"], "options": {"director": director}},
                {"name": "resurrector", "events": ["alert"], "options": {"director": director}},
            ],
        });
        if let Some(path) = &options.monitor_plugins {
            overlay(&mut config, json!({"plugins": read_yaml(path)?}));
        }
        if let Some(path) = &options.monitor_overlay {
            overlay(&mut config, read_yaml(path)?);
        }
        Ok(config)
    }
}

fn nats_url(options: &Options) -> String {
    format!("nats://{}:{}", options.gateway(), options.nats_port)
}

/// Lays `over` over `config`: objects key by key, lists of named things name by name, all else as a whole.
fn overlay(config: &mut Value, over: Value) {
    match (config, over) {
        (Value::Object(config), Value::Object(over)) => {
            for (key, value) in over {
                overlay(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(config), Value::Array(over))
            if over.iter().all(|item| item["name"].is_string()) =>
        {
            for item in over {
                match config
                    .iter_mut()
                    .find(|known| known["name"] == item["name"])
                {
                    Some(known) => overlay(known, item),
                    None => config.push(item),
                }
            }
        }
        (config, over) => *config = over,
    }
}

fn read_yaml(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// The cloud config of a new director. The addresses below the middle of the network are handed out, the others are
/// for those who want to choose.
fn cloud_config(options: &Options) -> String {
    let subnet = options.subnet;
    let half = subnet.size() / 2;
    format!(
        "azs:\n\
         - name: z1\n\
         \n\
         vm_types:\n\
         - name: default\n\
         \n\
         disk_types:\n\
         - name: default\n  \
           disk_size: 1024\n\
         \n\
         networks:\n\
         - name: default\n  \
           type: manual\n  \
           subnets:\n  \
           - range: {subnet}\n    \
             gateway: {gateway}\n    \
             azs: [z1]\n    \
             dns: []\n    \
             reserved: [{gateway}]\n    \
             static: [{first} - {last}]\n\
         \n\
         compilation:\n  \
           workers: 4\n  \
           az: z1\n  \
           network: default\n  \
           vm_type: default\n  \
           reuse_compilation_vms: true\n",
        gateway = options.gateway(),
        first = subnet.address(half),
        last = subnet.address(subnet.size() - 2),
    )
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    put(path, text, 0o644)
}

/// For its owner alone.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    put(path, text, 0o600)
}

fn put(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_replace_keys_and_add_plugins() {
        let mut config =
            json!({"intervals": {"a": 1, "b": 2}, "plugins": [{"name": "x", "events": ["alert"]}]});
        overlay(
            &mut config,
            json!({"intervals": {"b": 3}, "plugins": [
                {"name": "y"},
                {"name": "x", "options": {"k": 1}},
            ]}),
        );
        assert_eq!(
            config,
            json!({"intervals": {"a": 1, "b": 3}, "plugins": [
                {"name": "x", "events": ["alert"], "options": {"k": 1}},
                {"name": "y"},
            ]})
        );
    }
}
