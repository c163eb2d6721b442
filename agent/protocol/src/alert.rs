//! Alerts to the health monitor on `hm.agent.alert.<id>`. Source: upstream agent/alert/alert.go.

use serde::{Deserialize, Serialize};

use crate::nullable;

/// Something went wrong, or someone logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Unique per event; the health monitor drops repeats.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub id: String,
    /// 1 alert, 2 critical, 3 error, 4 warning; see the constants of [`severity`].
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub severity: i64,
    /// One line: `redis (10.0.0.1) - does not exist - restart`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub title: String,
    /// What the source says about it.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub summary: String,
    /// Seconds since the Unix epoch.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub created_at: i64,
}

/// Values of [`Alert::severity`].
pub mod severity {
    /// Act now.
    pub const ALERT: i64 = 1;
    /// Broken; also the default for an unknown event.
    pub const CRITICAL: i64 = 2;
    /// Wrong.
    pub const ERROR: i64 = 3;
    /// Worth knowing.
    pub const WARNING: i64 = 4;
}
