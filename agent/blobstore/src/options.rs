//! The `options` of a blobstore in the director's and the agent's settings, as written there.
//!
//! Upstream: bosh-davcli config/config.go, bosh-utils blobstore/local_blobstore.go, and
//! bosh/jobs/director/templates/director.yml.erb. Unknown keys are for other programs (`davcli_path`, ...).

use crate::Error;
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
