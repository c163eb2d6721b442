//! The VM's settings: from where they come, and what the director adds while the VM lives.
//!
//! | module | what |
//! |---|---|
//! | [`service`] | load, cache, persistent disk hints, updates |
//! | [`source`] | the order in which sources are tried; one file per source |
//! | [`mod@file`] | a file that whoever made the VM has put there |
//! | [`store`] | JSON files that survive a crash |

pub mod file;
pub mod service;
pub mod source;
pub mod store;

pub use service::Service;
pub use source::Sources;

use std::path::PathBuf;

/// Errors of settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// agent.json names no source.
    #[error("agent.json names no source of settings")]
    NoSource,
    /// A source did not answer.
    #[error("read settings from {origin}")]
    Source {
        /// Which.
        origin: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A source answered nonsense.
    #[error("parse settings from {origin}")]
    Parse {
        /// Which.
        origin: String,
        /// Where and what was expected.
        #[source]
        source: serde_json::Error,
    },
    /// One of the agent's own files.
    #[error("{operation} {}", path.display())]
    File {
        /// Verb.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No hint for such a disk. The words are upstream's.
    #[error("Persistent disk with volume id '{0}' could not be found")]
    UnknownDisk(bosh_protocol::DiskCid),
    /// The tmpfs for settings.
    #[error("set up the tmpfs for settings")]
    Platform(#[from] crate::platform::Error),
}
