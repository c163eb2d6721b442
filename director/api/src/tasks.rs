//! `/tasks` and `/locks`.

use serde::{Deserialize, Serialize};

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Task {
    /// Its number.
    pub id: i32,
    /// `queued`, `processing`, `cancelling`, `cancelled`, `done`, `error` or `timeout`.
    pub state: String,
    /// What it does, in words.
    pub description: String,
    /// When it ended, in seconds since 1970; null while it has not.
    pub timestamp: Option<i64>,
    /// When it began, in seconds since 1970.
    pub started_at: Option<i64>,
    /// What came of it.
    pub result: Option<String>,
    /// Who asked for it.
    pub user: String,
    /// For which deployment.
    pub deployment: Option<String>,
    /// Chosen by the client.
    pub context_id: String,
}

/// Which tasks to cancel: `POST /tasks/cancel`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelTasks {
    /// `queued`, `processing`; `queued` if absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<String>>,
    /// Kinds; all if absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Vec<String>>,
    /// Only of this deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lock {
    /// `deployment`, `release`, `stemcells`, `compile`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Which, in parts.
    pub resource: Vec<String>,
    /// When it expires: seconds since 1970, with six decimals.
    pub timeout: String,
    /// The task that holds it.
    pub task_id: String,
}
