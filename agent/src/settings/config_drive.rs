//! Settings from a disk that the infrastructure attaches for this. Source: upstream
//! infrastructure/config_drive_settings_source.go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bosh_protocol::Settings;
use serde::Deserialize;

use super::{Error, parse};
use crate::platform::Platform;

/// As EC2's meta-data.json.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "public-keys", default)]
    public_keys: Option<BTreeMap<String, BTreeMap<String, String>>>,
}

/// The settings of the first disk that has any.
pub(super) async fn settings(
    platform: &dyn Platform,
    disks: &[PathBuf],
    path: &str,
) -> Result<Settings, Error> {
    parse(&load(platform, disks, path).await?, || {
        format!("config drive: {path}")
    })
}

/// The first of the keys in the metadata.
pub(super) async fn public_ssh_key(
    platform: &dyn Platform,
    disks: &[PathBuf],
    path: &str,
) -> Result<Option<String>, Error> {
    let metadata: Metadata = parse(&load(platform, disks, path).await?, || {
        format!("config drive: {path}")
    })?;
    let first = metadata.public_keys.unwrap_or_default().remove("0");
    let key = first.and_then(|mut first| first.remove("openssh-key"));
    Ok(key.filter(|key| !key.is_empty()))
}

async fn load(platform: &dyn Platform, disks: &[PathBuf], path: &str) -> Result<Vec<u8>, Error> {
    let mut last = None;
    for disk in disks {
        match platform.file_from_disk(disk, path).await {
            Ok(content) => return Ok(content),
            Err(error) => {
                let shown = &error as &dyn std::error::Error;
                tracing::warn!(disk = %disk.display(), error = shown, "no config drive");
                last = Some(Box::new(error));
            }
        }
    }
    Err(Error::ConfigDrive {
        path: path.to_owned(),
        source: last,
    })
}
