//! agent.json as stemcells ship it. Source: upstream app/config.go, infrastructure/settings_source_factory.go.
//!
//! Stemcells write it, not operators, and newer ones add keys: unknown keys are tolerated here.

use serde::Deserialize;

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
    /// `File`, `HTTP`, `ConfigDrive`, `CDROM`, `InstanceMetadata`, `VsphereGuestInfo`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The file, or the path on a config drive.
    pub settings_path: String,
}
