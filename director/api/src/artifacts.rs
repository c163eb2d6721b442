//! `/releases`, `/stemcells`, `/stemcell_uploads`, `/cleanup`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A release with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Oldest first.
    pub release_versions: Vec<ReleaseVersion>,
}

/// A version of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseVersion {
    /// The version.
    pub version: String,
    /// The commit it was made from.
    pub commit_hash: Option<String>,
    /// Whether there were changes beyond that commit.
    pub uncommitted_changes: Option<bool>,
    /// Whether a deployment uses it.
    pub currently_deployed: bool,
    /// Its jobs.
    pub job_names: Vec<String>,
}

/// A release: `GET /releases/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseDetails {
    /// Packages of all versions.
    pub packages: Vec<ReleasePackage>,
    /// Jobs of all versions.
    pub jobs: Vec<ReleaseJob>,
    /// The versions.
    pub versions: Vec<String>,
}

/// A package of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleasePackage {
    /// Its name.
    pub name: String,
    /// The source's digest.
    pub sha1: Option<String>,
    /// Its version.
    pub version: String,
    /// The packages it needs.
    pub dependencies: Vec<String>,
}

/// A job of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseJob {
    /// Its name.
    pub name: String,
    /// The archive's digest.
    pub sha1: String,
    /// Its version.
    pub version: String,
    /// The packages it runs.
    pub packages: Vec<String>,
}

/// A version of a release: `GET /releases/NAME?version=VERSION`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InspectedRelease {
    /// Its jobs by name.
    pub jobs: Vec<InspectedJob>,
    /// Its packages by name.
    pub packages: Vec<InspectedPackage>,
}

/// A job of a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InspectedJob {
    /// Its name.
    pub name: String,
    /// The archive.
    pub blobstore_id: String,
    /// The archive's digest.
    pub sha1: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Links it consumes.
    pub consumes: Value,
    /// Links it provides.
    pub provides: Value,
}

/// A package of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InspectedPackage {
    /// Its name.
    pub name: String,
    /// The source.
    pub blobstore_id: Option<String>,
    /// The source's digest.
    pub sha1: Option<String>,
    /// Its fingerprint.
    pub fingerprint: String,
    /// What was compiled from it.
    pub compiled_packages: Vec<InspectedCompiledPackage>,
}

/// A compiled package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InspectedCompiledPackage {
    /// `os/version`.
    pub stemcell: String,
    /// Its digest.
    pub sha1: String,
    /// The blob.
    pub blobstore_id: String,
}

/// A stemcell on one CPI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stemcell {
    /// Its name.
    pub name: String,
    /// Such as `ubuntu-noble`.
    pub operating_system: Option<String>,
    /// Its version.
    pub version: String,
    /// The cloud's id.
    pub cid: String,
    /// The CPI that has it.
    pub cpi: Option<String>,
    /// The deployments that use it.
    pub deployments: Vec<DeploymentName>,
    /// What its agent understands.
    pub api_version: Option<i32>,
    /// Its number.
    pub id: i32,
}

/// A deployment by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeploymentName {
    /// Its name.
    pub name: String,
}

/// An archive to download: `POST /releases`, `POST /stemcells` as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RemoteArchive {
    /// Its address.
    pub location: String,
    /// The digest it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
}

/// `POST /stemcell_uploads`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StemcellUploadNeeded {
    /// Whether some CPI lacks the stemcell.
    pub needed: bool,
}

/// `POST /cleanup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cleanup {
    /// What to delete.
    #[serde(default)]
    pub config: CleanupConfig,
}

/// What to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CleanupConfig {
    /// Everything unused, not only old versions.
    #[serde(default)]
    pub remove_all: bool,
    /// Keep orphaned disks.
    #[serde(default)]
    pub keep_orphaned_disks: bool,
}

/// A release to compile and pack: `POST /releases/export`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExportRelease {
    /// The deployment that uses it.
    pub deployment_name: String,
    /// The release.
    pub release_name: String,
    /// Its version.
    pub release_version: String,
    /// The stemcell's operating system.
    pub stemcell_os: String,
    /// The stemcell's version.
    pub stemcell_version: String,
    /// Whether the archive's digest is to be SHA-256.
    #[serde(default)]
    pub sha2: bool,
    /// The jobs wanted; empty for all.
    #[serde(default)]
    pub jobs: Vec<JobName>,
}

/// A job by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobName {
    /// The job.
    pub name: String,
}
