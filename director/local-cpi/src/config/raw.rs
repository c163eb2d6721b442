//! The JSON as written. Unknown keys are refused: the file is ours alone.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) root: PathBuf,
    pub(super) agent: Agent,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) disk_backend: super::DiskBackend,
    #[serde(default)]
    pub(super) runc: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agent {
    pub(super) mbus: String,
    #[serde(default)]
    pub(super) ntp: Vec<String>,
    #[serde(default)]
    pub(super) blobstore: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub(super) bridge: Option<String>,
    pub(super) gateway: Option<String>,
    #[serde(default)]
    pub(super) nat: bool,
    pub(super) mtu: Option<u32>,
    pub(super) dynamic_range: Option<String>,
}
