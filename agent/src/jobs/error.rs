//! What can go wrong with jobs, packages and their blobs.

use crate::platform;
use std::{io, path::Path};

/// An error of fetching, unpacking or linking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// One job or package of the spec: which, and the cause.
    #[error("{operation} {kind} '{name}'")]
    Item {
        /// `preparing`, `applying`, ...
        operation: &'static str,
        /// `job` or `package`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: Box<Error>,
    },
    /// The blobstore.
    #[error("fetching the blob")]
    Blob(#[source] bosh_blobstore::Error),
    /// The spec names no blob and no URL.
    #[error("neither a blob id nor a signed URL is given")]
    NoSource,
    /// A name or version that cannot be used as a directory.
    #[error("invalid {what} {value:?}")]
    InvalidName {
        /// `job name`, `package version`, ...
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// The tarball is refused: it is damaged, or hostile. Nothing of it has been kept.
    #[error("unpacking: {0}")]
    Archive(String),
    /// The machine.
    #[error(transparent)]
    Platform(#[from] platform::Error),
    /// The supervisor.
    #[error("{operation}")]
    Supervisor {
        /// What it was asked.
        operation: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A thread of ours ended without a result.
    #[error("{0} ended unexpectedly")]
    Interrupted(&'static str),
}

impl Error {
    pub(crate) fn file(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Platform(platform::Error::file(operation, path, source))
    }

    pub(crate) fn item(
        operation: &'static str,
        kind: &'static str,
        name: &str,
    ) -> impl FnOnce(Self) -> Self {
        move |source| Self::Item {
            operation,
            kind,
            name: name.to_owned(),
            source: Box::new(source),
        }
    }

    /// Whether fetching again may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Blob(error) if error.is_retryable())
    }
}
