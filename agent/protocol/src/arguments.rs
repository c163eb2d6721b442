//! Structured arguments and results of methods. Source: upstream agent/action/*.go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::MultiDigest;
use crate::ids::BlobId;
use crate::nullable;
use crate::secret::Secret;

/// Why an instance is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainType {
    /// It will be updated in place; the new spec is the second argument.
    Update,
    /// It goes away.
    Shutdown,
    /// Directors of old asked for the state of a dynamic drain; refused.
    Status,
}

/// The second argument of `run_script`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunScriptOptions {
    /// Added to the script's environment.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub env: BTreeMap<String, String>,
}

/// What an errand printed and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrandResult {
    /// Standard output.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub stdout: String,
    /// Standard error.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub stderr: String,
    /// Exit status; 128 + n for signal n.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub exit_code: i32,
}

/// A compiled package that the package to compile needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompileDependency {
    /// Its name.
    #[serde(default, alias = "Name", deserialize_with = "nullable::or_default")]
    pub name: String,
    /// Its fingerprint, a dot and a build number.
    #[serde(default, alias = "Version", deserialize_with = "nullable::text")]
    pub version: String,
    /// Of its archive.
    #[serde(alias = "Sha1")]
    pub sha1: MultiDigest,
    /// Empty when `package_get_signed_url` is given.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstore_id: BlobId,
    /// A URL to fetch it from without credentials.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub package_get_signed_url: String,
    /// Sent along to the URL.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub blobstore_headers: BTreeMap<String, String>,
}

/// The argument of `compile_package_with_signed_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompileWithSignedUrl {
    /// Where the source is.
    pub package_get_signed_url: String,
    /// Where the result goes.
    pub upload_signed_url: String,
    /// Sent along to both.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstore_headers: BTreeMap<String, String>,
    /// Of the source.
    pub digest: MultiDigest,
    /// The package's name.
    pub name: String,
    /// Its fingerprint, a dot and a build number.
    #[serde(default, deserialize_with = "nullable::text")]
    pub version: String,
    /// What it needs, by name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub deps: BTreeMap<String, CompileDependency>,
}

/// `{"result": {"blobstore_id": ..., "sha1": ...}}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compiled {
    /// One level deeper, for there used to be more beside it.
    pub result: CompiledResult,
}

/// The compiled package.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompiledResult {
    /// Absent when it went to a signed URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobstore_id: Option<BlobId>,
    /// Of the archive.
    pub sha1: MultiDigest,
}

/// The answer to `unmount_disk`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmounted {
    /// Whether there was anything to unmount, in words.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub message: String,
}

/// The argument of `fetch_logs_with_signed_url`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchLogsWithSignedUrl {
    /// Where the archive goes.
    pub signed_url: String,
    /// `job`, `agent`, `system`, or several joined by commas.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub log_type: String,
    /// Globs below the log directory; all when empty.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub filters: Vec<String>,
    /// Sent along.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstore_headers: BTreeMap<String, String>,
}

/// The answer to `fetch_logs` and `fetch_logs_with_signed_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchedLogs {
    /// Absent when they went to a signed URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobstore_id: Option<BlobId>,
    /// Of the archive.
    pub sha1: MultiDigest,
}

/// The argument of `bundle_logs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleLogs {
    /// Who may read the archive, an ephemeral SSH user; empty for root.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub owning_user: String,
    /// `job`, `agent`, `system`, or several joined by commas.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub log_type: String,
    /// Globs below the log directory; all when empty.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub filters: Vec<String>,
}

/// The answer to `bundle_logs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundledLogs {
    /// A file on the VM, removed by `remove_file`.
    pub logs_tar_path: String,
    /// `sha512:<hex>`
    pub sha512: MultiDigest,
}

/// The second argument of `ssh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshParams {
    /// `cleanup`: which ephemeral users go.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub user_regex: String,
    /// `setup`: the user to create.
    #[serde(default, alias = "User", deserialize_with = "nullable::or_default")]
    pub user: String,
    /// `setup`: the user's OpenSSH key.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub public_key: String,
}

/// The answer to `ssh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshResult {
    /// `setup` or `cleanup`.
    pub command: String,
    /// `success`
    pub status: String,
    /// Where to connect.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ip: String,
    /// The VM's own OpenSSH key.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub host_public_key: String,
}

/// The argument of `sync_dns_with_signed_url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncDnsWithSignedUrl {
    /// Where the records are.
    pub signed_url: String,
    /// Of the records.
    pub multi_digest: MultiDigest,
    /// Older ones are ignored.
    pub version: u64,
    /// Sent along.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub blobstore_headers: BTreeMap<String, String>,
}

/// The part of the DNS blob that agents read; the rest is for bosh-dns, which reads the file itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecords {
    /// Grows with every change.
    #[serde(
        rename = "Version",
        alias = "version",
        default,
        deserialize_with = "nullable::or_default"
    )]
    pub version: u64,
    /// Pairs of address and name, for `/etc/hosts`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub records: Vec<[String; 2]>,
}

/// The argument of `upload_blob`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadBlob {
    /// What it will be called.
    pub blob_id: BlobId,
    /// Of the decoded payload.
    pub checksum: MultiDigest,
    /// Base64 of a tarball that may hold secrets.
    pub payload: Secret,
}

/// The argument of `delete_arp_entries`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteArpEntries {
    /// Addresses whose hardware address has changed.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub ips: Vec<String>,
}
