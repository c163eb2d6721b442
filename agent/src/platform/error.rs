//! What can go wrong with the machine.

use super::command;
use std::{io, path::Path};

/// An error of the platform.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read, made, changed.
    #[error("{operation} {path}")]
    File {
        /// What was being done: `writing`, `mounting`, ...
        operation: &'static str,
        /// To what.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{operation}")]
    Command {
        /// What it was to do.
        operation: String,
        /// How it failed.
        #[source]
        source: command::Error,
    },
    /// A device does not appear, or is not what it should be.
    #[error("{0}")]
    Device(String),
    /// The settings ask for something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// There is no such user or group.
    #[error("unknown {kind} '{name}'")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Error {
    pub(crate) fn file(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            operation,
            path: path.display().to_string(),
            source,
        }
    }

    pub(crate) fn command(operation: impl Into<String>, source: command::Error) -> Self {
        Self::Command {
            operation: operation.into(),
            source,
        }
    }
}
