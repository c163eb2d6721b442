//! Why a package could not be compiled.

use super::packaging;
use crate::{jobs, platform};

/// An error of the compilation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step and the cause. The words are upstream's: people search task logs for them.
    #[error("{step}")]
    Package {
        /// `Fetching package redis`, `Uploading compiled package`, ...
        step: String,
        /// The package.
        name: String,
        /// The cause.
        #[source]
        source: Box<jobs::Error>,
    },
    /// The packaging script failed; its output is in the cause.
    #[error("Running packaging script")]
    Packaging {
        /// The package.
        name: String,
        /// How it ended.
        #[source]
        source: Box<packaging::Error>,
    },
    /// The machine.
    #[error(transparent)]
    Platform(#[from] platform::Error),
    /// Installed packages could not be listed or removed.
    #[error(transparent)]
    Jobs(#[from] Box<jobs::Error>),
}

impl From<jobs::Error> for Error {
    fn from(error: jobs::Error) -> Self {
        Self::Jobs(Box::new(error))
    }
}
