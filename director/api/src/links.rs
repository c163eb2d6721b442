//! `/links`, `/link_providers`, `/link_consumers`, `/link_address`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A link that a deployment provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkProvider {
    /// The number, as text.
    pub id: String,
    /// The name others know it by.
    pub name: String,
    /// Whether other deployments and external consumers may have it.
    pub shared: bool,
    /// The deployment's name.
    pub deployment: String,
    /// What it is in the release.
    pub link_provider_definition: LinkDefinition,
    /// Who provides it.
    pub owner_object: LinkOwner,
}

/// A link that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkConsumer {
    /// The number, as text.
    pub id: String,
    /// The name it is looked up by.
    pub name: Option<String>,
    /// Whether it may stay without.
    pub optional: bool,
    /// The deployment's name.
    pub deployment: String,
    /// Who wants it.
    pub owner_object: LinkOwner,
    /// What it is in the release.
    pub link_consumer_definition: LinkDefinition,
}

/// A link's type and its name in the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkDefinition {
    /// The link's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name.
    pub name: String,
}

/// Who provides or wants a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkOwner {
    /// `job`, `disk`, `manual`, `variable` or `external`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The job, disk, variable or external consumer.
    pub name: String,
    /// Where it is; absent when it is in no instance group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<LinkOwnerInfo>,
}

/// Where the owner of a link is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkOwnerInfo {
    /// The instance group.
    pub instance_group: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Link {
    /// The number, as text.
    pub id: String,
    /// The consumer's name for it.
    pub name: String,
    /// The number of the [`LinkConsumer`].
    pub link_consumer_id: String,
    /// The number of the [`LinkProvider`]; `None` when that is gone.
    pub link_provider_id: Option<String>,
    /// Made when, as `2026-01-31 23:59:59 UTC`.
    pub created_at: Option<String>,
}

/// A link to make for somebody outside: `POST /links`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewLink {
    /// The number of the [`LinkProvider`]; must be text.
    #[serde(default)]
    pub link_provider_id: Value,
    /// `{"owner_object": {"type": "external", "name": ...}}`.
    #[serde(default)]
    pub link_consumer: Value,
    /// The network whose addresses are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Value>,
}

/// `GET /link_address`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkAddress {
    /// A DNS name, or what a manual link says.
    pub address: Value,
}
