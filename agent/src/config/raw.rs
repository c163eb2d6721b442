//! agent.json as stemcells ship it. Source: upstream app/config.go, infrastructure/settings_source_factory.go.
//!
//! Stemcells write it, not operators, and newer ones add keys: unknown keys are tolerated here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::platform;

/// The file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// About this machine.
    pub platform: Platform,
    /// About where it runs.
    pub infrastructure: Infrastructure,
}

/// `Platform`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Platform {
    /// The only kind there is.
    pub linux: platform::Options,
}

/// `Infrastructure`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Infrastructure {
    /// Where settings come from.
    pub settings: Settings,
}

/// `Infrastructure.Settings`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    /// Tried in this order.
    pub sources: Vec<Source>,
}

/// One of `Infrastructure.Settings.Sources`; which keys count depends on the type.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Source {
    /// `File`, `HTTP`, `InstanceMetadata`, `ConfigDrive`, `CDROM`, `VsphereGuestInfo`.
    #[serde(rename = "Type", deserialize_with = "nullable")]
    pub kind: String,
    /// `HTTP`, `InstanceMetadata`: `http://169.254.169.254`.
    #[serde(rename = "URI", deserialize_with = "nullable")]
    pub uri: String,
    /// `HTTP`, `InstanceMetadata`: sent with each request, `Metadata-Flavor: Google`.
    #[serde(deserialize_with = "nullable")]
    pub headers: BTreeMap<String, String>,
    /// `HTTP`: the settings, `/latest/user-data`. `ConfigDrive`: their path on the disk, `ec2/latest/user-data`.
    #[serde(deserialize_with = "nullable")]
    pub user_data_path: String,
    /// `ConfigDrive`: what has the keys, `ec2/latest/meta-data.json`.
    #[serde(deserialize_with = "nullable")]
    pub meta_data_path: String,
    /// `HTTP`: the key of `vcap`, `/latest/meta-data/public-keys/0/openssh-key`.
    #[serde(rename = "SSHKeysPath", deserialize_with = "nullable")]
    pub ssh_keys_path: String,
    /// `HTTP`: where a token is to be had, `/latest/api/token`.
    #[serde(deserialize_with = "nullable")]
    pub token_path: String,
    /// `File`: the file. `InstanceMetadata`: where the settings are.
    #[serde(deserialize_with = "nullable")]
    pub settings_path: String,
    /// `ConfigDrive`: disks that may be it, `/dev/disk/by-label/config-2`.
    #[serde(deserialize_with = "nullable")]
    pub disk_paths: Vec<PathBuf>,
    /// `CDROM`: the settings' name, `env`.
    #[serde(deserialize_with = "nullable")]
    pub file_name: String,
    /// `VsphereGuestInfo`: `vmware-rpctool` if empty.
    #[serde(deserialize_with = "nullable")]
    pub rpc_tool_path: String,
    /// `VsphereGuestInfo`: `vmtoolsd` if empty.
    #[serde(deserialize_with = "nullable")]
    pub vm_toolsd_path: String,
}

/// Go's decoders take `null` for what an absent key is.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
