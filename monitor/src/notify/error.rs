//! Why there are no plugins.

use std::path::PathBuf;

use super::build;

/// Why plugins cannot be had. Each names the file and the key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error("{place}.name: Cannot find '{name}' plugin; expected one of {}", build::NAMES.join(", "))]
    Unknown {
        /// File and entry.
        place: String,
        /// The name.
        name: String,
    },
    /// What it is told is wrong.
    #[error("{place}.{message}")]
    Options {
        /// File and entry.
        place: String,
        /// Key and expectation.
        message: String,
    },
    /// Alerts that wait cannot be kept.
    #[error("spool.dir: using {}", path.display())]
    Spool {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}
