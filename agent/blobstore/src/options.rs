//! The `options` of a blobstore in the director's and the agent's settings, as written there.
//!
//! Upstream: bosh-davcli config/config.go, bosh-utils blobstore/local_blobstore.go, and
//! bosh/jobs/director/templates/director.yml.erb. Unknown keys are for other programs (`davcli_path`, ...).

use crate::Error;
use bosh_protocol::Secret;
use serde::{Deserialize, de::DeserializeOwned};
use std::fmt;

/// Options of the provider `local`.
#[derive(Debug, Clone, Deserialize)]
pub struct Local {
    /// The directory that holds the blobs, one file each; may be written as a `file://` URL.
    pub blobstore_path: String,
}

/// Options of the provider `dav` (in a director.yml rendered by upstream: `davcli`). `Debug` hides the secrets.
#[derive(Clone, Deserialize)]
pub struct Dav {
    /// For example `https://10.0.0.6:25250`.
    pub endpoint: String,
    /// For basic authentication; agents that get signed URLs have none.
    #[serde(default)]
    pub user: Option<String>,
    /// For basic authentication.
    #[serde(default)]
    pub password: Option<String>,
    /// The key of URL signatures; the director's alone.
    #[serde(default)]
    pub secret: Option<String>,
    /// Whether agents are to get signed URLs.
    #[serde(default)]
    pub enable_signed_urls: bool,
    /// A prefix of all ids that this client makes.
    #[serde(default)]
    pub folder: Option<String>,
    /// How the server proves who it is.
    #[serde(default)]
    pub tls: Tls,
}

impl fmt::Debug for Dav {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dav")
            .field("endpoint", &self.endpoint)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Options of the provider `simple`.
#[derive(Debug, Clone, Deserialize)]
pub struct Simple {
    /// For example `http://10.0.0.6:25250`.
    pub endpoint: String,
    /// The part of the path between endpoint and id.
    #[serde(default = "resources")]
    pub bucket: String,
    /// For basic authentication.
    #[serde(default)]
    pub user: Option<String>,
    /// For basic authentication.
    #[serde(default)]
    pub password: Option<Secret>,
}

fn resources() -> String {
    "resources".to_owned()
}

/// Options of the provider `atmos`.
#[derive(Debug, Clone, Deserialize)]
pub struct Atmos {
    /// For example `https://accesspoint.example.com`.
    pub url: String,
    /// `<subtenant>/<user>`.
    pub uid: String,
    /// The shared secret, in base64; without it blobs can only be read.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// A listable tag that stored objects get.
    #[serde(default)]
    pub tag: Option<String>,
}

/// Options of the provider `s3` (in a director.yml rendered by upstream: `s3cli`).
/// Upstream: bosh-s3cli config/config.go, bosh-director blobstore/s3cli_blobstore_client.rb.
#[derive(Debug, Clone, Deserialize)]
pub struct S3 {
    /// The bucket.
    pub bucket_name: String,
    /// `static`, `env_or_profile` or `none`; by default `static` with keys and `none` without.
    #[serde(default)]
    pub credentials_source: Option<String>,
    /// For `static`.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// For `static`.
    #[serde(default)]
    pub secret_access_key: Option<Secret>,
    /// Amazon's in the region, by default.
    #[serde(default)]
    pub host: Option<String>,
    /// That of HTTP or HTTPS, by default.
    #[serde(default)]
    pub port: Option<u16>,
    /// Whether the bucket is part of the host's name instead of the path.
    #[serde(default)]
    pub host_style: bool,
    /// `us-east-1` by default.
    #[serde(default)]
    pub region: Option<String>,
    /// HTTPS instead of HTTP.
    #[serde(default = "yes")]
    pub use_ssl: bool,
    /// Whether the server's certificate must be good.
    #[serde(default = "yes")]
    pub ssl_verify_peer: bool,
    /// 4 is the only one.
    #[serde(default, deserialize_with = "number_or_text")]
    pub signature_version: Option<String>,
    /// `AES256` or `aws:kms`.
    #[serde(default)]
    pub server_side_encryption: Option<String>,
    /// The key for `aws:kms`.
    #[serde(default)]
    pub sse_kms_key_id: Option<String>,
    /// Not supported: refused.
    #[serde(default)]
    pub assume_role_arn: Option<String>,
    /// Not supported: refused.
    #[serde(default)]
    pub swift_auth_account: Option<String>,
    /// A prefix of all keys.
    #[serde(default)]
    pub folder_name: Option<String>,
    /// Whether agents are to get signed URLs.
    #[serde(default)]
    pub enable_signed_urls: bool,
}

/// Options of the provider `gcs` (in a director.yml rendered by upstream: `gcscli`).
/// Upstream: bosh-gcscli config/config.go, bosh-director blobstore/gcscli_blobstore_client.rb.
#[derive(Debug, Clone, Deserialize)]
pub struct Gcs {
    /// The bucket.
    pub bucket_name: String,
    /// `static` or `none`; by default `static` with a key, and what the machine has without one.
    #[serde(default)]
    pub credentials_source: Option<String>,
    /// A service account's key, as Google gives it out.
    #[serde(default)]
    pub json_key: Option<Secret>,
    /// `REGIONAL`, ...; the bucket's by default.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// 32 bytes in base64 that blobs are encrypted with.
    #[serde(default)]
    pub encryption_key: Option<Secret>,
    /// Ours: another server than Google's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether agents are to get signed URLs.
    #[serde(default)]
    pub enable_signed_urls: bool,
}

/// Options of the provider `azure-storage` (in a director.yml rendered by upstream: `azurestoragecli`).
/// Upstream: azure-storage-cli config/config.go, bosh-director blobstore/azurestoragecli_blobstore_client.rb.
#[derive(Debug, Clone, Deserialize)]
pub struct Azure {
    /// The storage account.
    pub account_name: String,
    /// The container in it.
    pub container_name: String,
    /// The account's key.
    pub account_key: Secret,
    /// `AzureCloud` (the default), `AzureChinaCloud`, `AzureUSGovernment`.
    #[serde(default, alias = "environment")]
    pub azure_cloud_name: Option<String>,
    /// Ours: another server than Microsoft's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Whether agents are to get signed URLs.
    #[serde(default)]
    pub enable_signed_urls: bool,
}

fn yes() -> bool {
    true
}

/// Templates render versions as either.
fn number_or_text<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match serde_json::Value::deserialize(input)? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        other => Some(other.to_string()),
    })
}

/// `tls:` of the options.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Tls {
    /// `tls.cert`.
    #[serde(default)]
    pub cert: Cert,
}

/// `tls.cert:` of the options.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Cert {
    /// The certificates, in PEM, that the server's must be signed by. Without it the system's are used.
    #[serde(default)]
    pub ca: Option<String>,
}

/// `tls.cert.ca`, whichever the provider: signed URLs of any provider use it too.
/// Upstream: bosh-agent agent/httpblobprovider/blobstore_http_client.go.
pub(crate) fn ca(options: &serde_json::Value) -> Option<String> {
    let ca = options.pointer("/tls/cert/ca")?.as_str()?;
    (!ca.trim().is_empty()).then(|| ca.to_owned())
}

pub(crate) fn parse<T: DeserializeOwned>(
    provider: &'static str,
    options: &serde_json::Value,
) -> Result<T, Error> {
    T::deserialize(options).map_err(|e| Error::InvalidOptions {
        provider,
        reason: e.to_string(),
    })
}
