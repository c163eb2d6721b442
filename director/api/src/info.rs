//! `GET /info`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who the director is and what it can do. Needs no authentication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its id, which never changes.
    pub uuid: String,
    /// `VERSION (REVISION)`.
    pub version: String,
    /// Who asks, if authenticated.
    #[serde(default)]
    pub user: Option<String>,
    /// The default CPI's type.
    #[serde(default)]
    pub cpi: Option<String>,
    /// The operating system of the director's own stemcell.
    #[serde(default)]
    pub stemcell_os: Option<String>,
    /// The version of the director's own stemcell.
    #[serde(default)]
    pub stemcell_version: Option<String>,
    /// How to authenticate.
    pub user_authentication: UserAuthentication,
    /// What is switched on, by name.
    #[serde(default)]
    pub features: serde_json::Map<String, Value>,
}

/// How to authenticate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserAuthentication {
    /// `basic` or `uaa`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For `uaa`: `url`.
    #[serde(default)]
    pub options: serde_json::Map<String, Value>,
}

/// A certificate of the director's: `GET /director/certificate_expiry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DirectorCertificateExpiry {
    /// The property that holds it, such as `director.ssl.cert`.
    pub certificate_path: String,
    /// When it stops being valid, ISO 8601.
    pub expiry: String,
    /// Whole days until then.
    pub days_left: i64,
}

/// A local user: `POST /users`, `PUT /users/NAME`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewUser {
    /// The name.
    #[serde(default)]
    pub username: String,
    /// The password.
    #[serde(default)]
    pub password: String,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .field("password", &"<redacted>")
            .finish()
    }
}
