//! `/events`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Something that was done. Absent fields are not written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its number, as text.
    pub id: String,
    /// The event that this one ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `create`, `update`, `delete`, ...
    pub action: String,
    /// To what kind of thing.
    pub object_type: String,
    /// Which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_name: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// In which task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Of which deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Of which instance: `group/id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// More.
    #[serde(default)]
    pub context: Map<String, Value>,
}

/// An event to record: `POST /events`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewEvent {
    /// Seconds since 1970, or text; now if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Value>,
    /// What was done. Required.
    #[serde(default)]
    pub action: Option<String>,
    /// To what kind of thing. Required.
    #[serde(default)]
    pub object_type: Option<String>,
    /// Which. Required.
    #[serde(default)]
    pub object_name: Option<String>,
    /// Of which deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Of which instance: `group/id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// More; an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Value>,
}
