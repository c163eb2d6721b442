//! Why a release could not be compiled.

use std::path::{Path, PathBuf};

use super::yaml;
use crate::{compile, jobs, platform};

/// An error of `bosh-agent compile`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tarball, or what is made of it.
    #[error("{operation} {}", path.display())]
    File {
        /// `read`, `write`, ...
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no release.MF.
    #[error("failed to find release.MF in tarball")]
    NoManifest,
    /// release.MF cannot be parsed.
    #[error("failed to parse release manifest")]
    Yaml(#[from] yaml::Error),
    /// release.MF is not what it should be.
    #[error("failed to parse release manifest: {0}")]
    Manifest(String),
    /// A package's tarball that no package is named after.
    #[error("failed to extract packages from tarball: package not found in release manifest: {0}")]
    UnknownPackage(String),
    /// A package without a tarball.
    #[error("failed to extract packages from tarball: package '{0}' is missing")]
    MissingPackage(String),
    /// A name that leads out of the tarball.
    #[error("'{0}' is not in the tarball")]
    Outside(String),
    /// A package is not what release.MF says.
    #[error("verify package '{package}'")]
    Digest {
        /// Which.
        package: String,
        /// Why.
        #[source]
        source: Box<bosh_protocol::digest::Error>,
    },
    /// Packages need each other.
    #[error("cycle detected: package '{0}' depends on itself")]
    Cycle(String),
    /// A package that is needed and not there.
    #[error("package '{package}' depends on '{dependency}', which is not in the release")]
    UnknownDependency {
        /// Who needs it.
        package: String,
        /// What.
        dependency: String,
    },
    /// A package could not be compiled.
    #[error("failed to compile package {name}/{version}")]
    Package {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Why.
        #[source]
        source: Box<compile::Error>,
    },
    /// What the stemcell says of itself.
    #[error("{key} not found in {}", path.display())]
    Stemcell {
        /// What was looked for.
        key: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Where blobs are kept.
    #[error(transparent)]
    Blobs(#[from] bosh_blobstore::Error),
    /// The machine.
    #[error(transparent)]
    Platform(#[from] platform::Error),
    /// A name that is none.
    #[error(transparent)]
    Jobs(#[from] jobs::Error),
}

impl Error {
    pub(super) fn file(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}
