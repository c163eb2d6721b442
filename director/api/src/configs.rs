//! `/configs`, `/deployment_configs` and the older `/cloud_configs` and its kin.

use serde::{Deserialize, Serialize};

/// A version of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Config {
    /// YAML.
    pub content: String,
    /// Its number, as text.
    pub id: String,
    /// `cloud`, `runtime`, `cpi`, `resurrection`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The team that owns it.
    #[serde(default)]
    pub team: Option<String>,
    /// `2026-01-31 23:59:59 UTC`.
    pub created_at: String,
    /// Whether it is the newest version.
    pub current: bool,
}

/// A config to store: `POST /configs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewConfig {
    /// `cloud`, `runtime`, `cpi`, `resurrection`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// YAML.
    pub content: String,
    /// Refuse when the newest version is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_latest_id: Option<String>,
}

/// The newest version was not the expected one: 412 to `POST /configs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigConflict {
    /// The newest version; `0` for none.
    pub latest_id: String,
    /// What the client expected.
    pub expected_latest_id: String,
    /// In words.
    pub description: String,
}

/// A config as `/cloud_configs`, `/runtime_configs` and `/cpi_configs` list it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TypedConfig {
    /// YAML.
    pub properties: String,
    /// `2026-01-31 23:59:59 UTC`.
    pub created_at: String,
}

/// What would change. A line is `(text, "added" | "removed" | null)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diff {
    /// The configs that a deploy would use, to be sent along with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<DiffContext>,
    /// The version compared with (`/configs/diff`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DiffFrom>,
    /// The lines.
    pub diff: Vec<(String, Option<String>)>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The configs that a deploy would use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiffContext {
    /// Ids of cloud configs.
    #[serde(default)]
    pub cloud_config_ids: Vec<i32>,
    /// Ids of runtime configs.
    #[serde(default)]
    pub runtime_config_ids: Vec<i32>,
}

/// The version compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiffFrom {
    /// `0` for none.
    pub id: String,
}

/// A config that a deployment was deployed with: `GET /deployment_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentConfig {
    /// The deployment's number.
    pub id: i32,
    /// The deployment's name.
    pub deployment: String,
    /// The config.
    pub config: ConfigReference,
}

/// A config by number, type and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigReference {
    /// Its number.
    pub id: i32,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
}
