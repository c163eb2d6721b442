//! The VM's settings: from where they come, and what the director adds while the VM lives.
//!
//! | module | what |
//! |---|---|
//! | [`service`] | load, cache, persistent disk hints, updates |
//! | [`source`] | the order in which sources are tried; one file per source |
//! | `file` | a file that whoever made the VM has put there |
//! | `metadata` | a metadata service over HTTP |
//! | `config_drive`, `cdrom` | a disk, a CD |
//! | `vsphere` | what vSphere holds for its guest |
//! | [`store`] | JSON files that survive a crash |

mod cdrom;
mod config_drive;
mod file;
mod metadata;
pub mod service;
pub mod source;
pub mod store;
#[cfg(test)]
mod tests;
mod vsphere;

pub use service::Service;
pub use source::Sources;

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::platform;

fn parse<T: DeserializeOwned>(bytes: &[u8], origin: impl FnOnce() -> String) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Parse {
        origin: origin(),
        source,
    })
}

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
    /// No source answered. The words are upstream's.
    #[error("Getting settings from all sources")]
    AllSources(#[source] Box<Error>),
    /// No source could be asked for a key. The words are upstream's.
    #[error("Getting public SSH key for 'vcap'")]
    PublicKey(#[source] Box<Error>),
    /// A metadata service cannot be asked.
    #[error("request settings from {origin}")]
    Request {
        /// URL.
        origin: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A metadata service refuses.
    #[error("invalid status from url {origin}: {status}")]
    Status {
        /// URL.
        origin: String,
        /// Of HTTP.
        status: u16,
    },
    /// A metadata service goes on and on.
    #[error("{origin} answers with more than {limit} bytes")]
    TooLong {
        /// URL.
        origin: String,
        /// The most there may be.
        limit: usize,
    },
    /// User data without settings. The words are upstream's.
    #[error("Metadata does not provide settings")]
    NoAgentId,
    /// A source that is not told where to look. The words are upstream's.
    #[error("Can not retrieve metadata value for empty path")]
    EmptyPath,
    /// Neither JSON nor base64.
    #[error("decode settings from {origin}")]
    Base64 {
        /// Which.
        origin: String,
        /// Where.
        #[source]
        source: base64::DecodeError,
    },
    /// No config drive has the file. The words are upstream's.
    #[error("Loading file '{path}' from config drive")]
    ConfigDrive {
        /// Which.
        path: String,
        /// Why the last disk was none; `None` if there is no disk to try.
        #[source]
        source: Option<Box<platform::Error>>,
    },
    /// The CD cannot be read. The words are upstream's.
    #[error("Reading files from CDROM")]
    Cdrom(#[source] platform::Error),
    /// vSphere's tools fail. The words are upstream's.
    #[error("getting user data from vmware tools")]
    GuestInfo(#[source] platform::command::Error),
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
    /// The tmpfs for settings. The words are upstream's.
    #[error("Setting up settings tmpfs")]
    Tmpfs(#[source] platform::Error),
    /// The network that a source needs. The words are upstream's.
    #[error("Setting up initial DHCP network")]
    Network(#[from] platform::Error),
}
