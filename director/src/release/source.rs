//! Where an uploaded archive comes from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where an archive is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file that the request's body was written to; the task deletes it.
    File(PathBuf),
    /// An address to download it from.
    Url(String),
}
