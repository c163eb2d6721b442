//! What the infrastructure tells a VM about itself, and what the director replaces of it later.
//! Source: upstream settings/{settings,update_settings}.go, director create_vm_step.rb for `env`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::{DiskHint, DiskSettings, Disks};
use crate::ids::{AgentId, DiskCid};
use crate::network::Networks;
use crate::nullable;
use crate::secret::Secret;

/// A VM's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Who this VM's agent is.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub agent_id: AgentId,
    /// Superseded by `env.bosh.blobstores`; see [`Settings::blobstore`].
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstore: Blobstore,
    /// Disks attached at the VM's creation.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub disks: Disks,
    /// What the director and the deployment manifest add.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub env: Env,
    /// By name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub networks: Networks,
    /// Superseded by `env.bosh.ntp`; see [`Settings::ntp_servers`].
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub ntp: Vec<String>,
    /// Superseded by `env.bosh.mbus`; may hold a password. See [`Settings::mbus_urls`].
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mbus: Secret,
    /// The VM itself.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub vm: Vm,
    /// What the director has replaced since; kept apart from the settings on disk.
    #[serde(skip)]
    pub update: UpdateSettings,
}

impl Settings {
    /// The URLs of the message bus, best first. They may hold a password.
    pub fn mbus_urls(&self) -> Vec<Secret> {
        if !self.update.mbus.urls.is_empty() {
            self.update.mbus.urls.clone()
        } else if !self.env.bosh.mbus.urls.is_empty() {
            self.env.bosh.mbus.urls.clone()
        } else if self.mbus.is_empty() {
            Vec::new()
        } else {
            vec![self.mbus.clone()]
        }
    }

    /// The certificate to connect to the message bus with.
    pub fn mbus_cert(&self) -> &CertKeyPair {
        if self.update.mbus.cert.ca.is_empty() {
            &self.env.bosh.mbus.cert
        } else {
            &self.update.mbus.cert
        }
    }

    /// The blobstore that counts.
    pub fn blobstore(&self) -> &Blobstore {
        if let Some(blobstore) = self
            .update
            .blobstores
            .as_deref()
            .and_then(|blobstores| blobstores.first())
        {
            return blobstore;
        }
        self.env.bosh.blobstores.first().unwrap_or(&self.blobstore)
    }

    /// Time servers.
    pub fn ntp_servers(&self) -> &[String] {
        self.env.bosh.ntp.as_deref().unwrap_or(&self.ntp)
    }

    /// Whether jobs and settings live in memory only.
    pub fn tmpfs_enabled(&self) -> bool {
        self.env.bosh.agent.settings.tmpfs || self.env.bosh.job_dir.tmpfs
    }

    /// The ephemeral disk; all empty where there is none.
    pub fn ephemeral_disk(&self) -> DiskSettings {
        DiskSettings::from_hint(DiskCid::default(), self.disks.ephemeral.as_ref())
    }

    /// A persistent disk, from a hint and the `persistent_disk_*` of `env`.
    pub fn persistent_disk_from_hint(&self, id: DiskCid, hint: Option<&DiskHint>) -> DiskSettings {
        DiskSettings {
            file_system_type: self.env.persistent_disk_fs.clone(),
            mount_options: self.env.persistent_disk_mount_options.clone(),
            partitioner: self.env.persistent_disk_partitioner.clone(),
            ..DiskSettings::from_hint(id, hint)
        }
    }
}

/// `vm` of the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// As its infrastructure calls it.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub name: String,
}

/// How to reach a blobstore.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Blobstore {
    /// `dav`, `local`, `s3`, `gcs`, `azure-storage`, `dummy`, or the name of a `bosh-blobstore-<provider>` program.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub provider: String,
    /// Depends on the provider; has credentials in it.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub options: Map<String, Value>,
}

impl fmt::Debug for Blobstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobstore")
            .field("provider", &self.provider)
            .field("options", &"<redacted>")
            .finish()
    }
}

/// `env`: partly the director's, partly the manifest's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Env {
    /// The part agents read.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub bosh: BoshEnv,
    /// `ext4` (default) or `xfs`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub persistent_disk_fs: String,
    /// Passed to mount.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub persistent_disk_mount_options: Vec<String>,
    /// `parted` to force it.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub persistent_disk_partitioner: String,
}

/// `env.bosh`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BoshEnv {
    /// `agent.settings.tmpfs`
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub agent: AgentEnv,
    /// A crypt(3) hash for `vcap`, and `root` unless `keep_root_password`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub password: Secret,
    /// Leave root's password alone.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub keep_root_password: bool,
    /// Remove compilers after the first start.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub remove_dev_tools: bool,
    /// Remove static libraries after the first start.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub remove_static_libraries: bool,
    /// OpenSSH public keys for `vcap`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub authorized_keys: Vec<String>,
    /// Mebibytes; absent to choose, 0 for none.
    #[serde(default)]
    pub swap_size: Option<u64>,
    /// The message bus.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mbus: Mbus,
    /// IPv6 is off unless enabled.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub ipv6: Ipv6,
    /// `/var/vcap/data/jobs` in memory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub job_dir: JobDir,
    /// `/var/vcap/data/sys/run` in memory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub run_dir: RunDir,
    /// The first one counts.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstores: Vec<Blobstore>,
    /// Time servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ntp: Option<Vec<String>>,
    /// How many packages are installed at once; 5 when absent.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Tags of the VM: `deployment`, `job`, `id` and the manifest's own; the director's word to CPIs.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "Map::is_empty"
    )]
    pub tags: Map<String, Value>,
    /// `<director>-<deployment>-<group>`; the director's word to CPIs.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub group: String,
    /// All prefixes and combinations of `group`; the director's word to CPIs.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub groups: Vec<String>,
}

impl BoshEnv {
    /// How many packages are installed at once.
    pub fn parallel(&self) -> usize {
        self.parallel.map_or(5, |parallel| parallel.max(1) as usize)
    }

    /// The swap partition's size in bytes, if it was given.
    pub fn swap_bytes(&self) -> Option<u64> {
        self.swap_size
            .map(|mebibytes| mebibytes.saturating_mul(1024 * 1024))
    }
}

/// `env.bosh.agent`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEnv {
    /// The agent's own files.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub settings: AgentSettings,
}

/// `env.bosh.agent.settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// Keep settings in memory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub tmpfs: bool,
    /// Seconds between heartbeats where the usual 30 are too many for those who watch. Ours: upstream's agents leave it
    /// alone.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "Option::is_none"
    )]
    pub heartbeat_interval: Option<u32>,
}

/// The message bus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mbus {
    /// This agent's own certificate.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub cert: CertKeyPair,
    /// `nats://host:port`, or `https://user:password@0.0.0.0:6868` for create-env. May hold a password.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub urls: Vec<Secret>,
}

/// A certificate, its key and who signed it, each in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertKeyPair {
    /// Who signed the server's certificate.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub ca: String,
    /// The key.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub private_key: Secret,
    /// The certificate.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub certificate: String,
}

/// `env.bosh.ipv6`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6 {
    /// Turn it on.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub enable: bool,
}

/// `env.bosh.job_dir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDir {
    /// Keep rendered templates in memory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub tmpfs: bool,
    /// Passed to mount.
    #[serde(default, deserialize_with = "nullable::text")]
    pub tmpfs_size: String,
}

/// `env.bosh.run_dir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDir {
    /// Passed to mount.
    #[serde(default, deserialize_with = "nullable::text")]
    pub tmpfs_size: String,
}

/// The argument of `update_settings`, kept in `update_settings.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UpdateSettings {
    /// New ones; `null` keeps what there is.
    #[serde(default)]
    pub blobstores: Option<Vec<Blobstore>>,
    /// Names by which jobs find their disks.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub disk_associations: Vec<DiskAssociation>,
    /// New addresses and certificate; empty keeps what there is.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mbus: Mbus,
    /// PEM certificates to trust besides the system's.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub trusted_certs: String,
}

impl UpdateSettings {
    /// Takes over what `newer` says; true if the message bus or the blobstore changed.
    pub fn merge(&mut self, newer: UpdateSettings) -> bool {
        let mut changed = false;
        self.trusted_certs = newer.trusted_certs;
        self.disk_associations = newer.disk_associations;
        if newer.mbus != self.mbus && newer.mbus != Mbus::default() {
            self.mbus = newer.mbus;
            changed = true;
        }
        if newer.blobstores.is_some() && newer.blobstores != self.blobstores {
            self.blobstores = newer.blobstores;
            changed = true;
        }
        changed
    }
}

/// A disk and the name jobs know it by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskAssociation {
    /// The name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub name: String,
    /// The disk.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub cid: DiskCid,
}
