//! What every handler gets: the director, the user, the parameters.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header;
use axum::http::request::Parts;
use bosh_director_api::Code;
use serde::de::DeserializeOwned;

use super::auth::{Asking, Permission, User};
use super::error::{Error, Result};
use crate::app::Director;
use crate::db;
use crate::manifest::raw;

/// How JSON writes the character that PostgreSQL takes in no text.
const NUL: &[u8] = b"\\u0000";
/// Longest context id.
const CONTEXT_ID: usize = 64;

/// An authenticated request, without its body.
pub(super) struct Request {
    pub(super) director: Director,
    pub(super) user: User,
    pub(super) context_id: String,
    pub(super) headers: HeaderMap,
    path: String,
    query: Vec<(String, String)>,
}

/// What a body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`
    Json,
    /// `text/yaml`
    Yaml,
    /// `application/x-compressed`
    Archive,
    /// `multipart/form-data`
    Form,
}

impl FromRequestParts<Director> for Request {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, director: &Director) -> Result<Self> {
        let path = parts.uri.path().to_owned();
        let Some(user) = parts
            .extensions
            .get::<Asking>()
            .and_then(|asking| asking.0.clone())
        else {
            return Err(Error::Unauthorized(path));
        };
        // PostgreSQL takes no text with a NUL, and no name or id has one.
        let nul = |text: &str| text.contains("%00");
        if nul(&path) || parts.uri.query().is_some_and(nul) {
            return Err(Error::bad_request("expected an address without NUL"));
        }
        let context_id = parts
            .headers
            .get("x-bosh-context-id")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        if context_id.len() > CONTEXT_ID {
            return Err(Error::new(
                Code::ContextIdViolatedMax,
                "X-Bosh-Context-Id cannot be more than 64 characters in length",
            ));
        }
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Error::bad_request(format!("query not understood: {error}")))?
            .0;
        Ok(Self {
            director: director.clone(),
            user,
            context_id,
            headers: parts.headers.clone(),
            path,
            query,
        })
    }
}

impl Request {
    /// The last value of a query parameter.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a query parameter, `name=` or `name[]=`.
    pub(super) fn params(&self, name: &str) -> Vec<String> {
        let is = |key: &str| key == name || key.strip_suffix("[]") == Some(name);
        self.query
            .iter()
            .filter(|(key, _)| is(key))
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Whether a query parameter is `true`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.param(name) == Some("true")
    }

    /// A path segment that must be a number; the endpoint does not exist otherwise.
    pub(super) fn no_endpoint(&self) -> Error {
        Error::no_endpoint(&self.path)
    }

    /// What the body says it is.
    pub(super) fn media(&self) -> Option<Media> {
        let value = self.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        match value.split(';').next().unwrap_or_default().trim() {
            "application/json" => Some(Media::Json),
            "text/yaml" => Some(Media::Yaml),
            "application/x-compressed" => Some(Media::Archive),
            "multipart/form-data" => Some(Media::Form),
            _ => None,
        }
    }

    /// Refuses other bodies, as if the endpoint were not there.
    pub(super) fn expect(&self, media: Media) -> Result<()> {
        if self.media() == Some(media) {
            Ok(())
        } else {
            Err(self.no_endpoint())
        }
    }

    /// A JSON body of a certain shape.
    pub(super) fn json<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T> {
        self.expect(Media::Json)?;
        parse_json(body)
    }

    /// A YAML body that must be an object, as text and parsed.
    pub(super) fn yaml(&self, body: &[u8]) -> Result<(String, serde_json::Value)> {
        self.expect(Media::Yaml)?;
        parse_yaml(body)
    }

    /// Refuses users who may not.
    pub(super) fn require(&self, permission: Permission) -> Result<()> {
        self.user.require(permission, &self.director.uuid, &[])
    }

    /// Whether the user may, on something that belongs to `teams`.
    pub(super) fn may(&self, permission: Permission, teams: &[String]) -> bool {
        self.user.may(permission, &self.director.uuid, teams)
    }

    /// The deployment of that name, if it exists and the user may.
    pub(super) async fn deployment(
        &self,
        name: &str,
        permission: Permission,
    ) -> Result<db::deployments::Deployment> {
        let db = &self.director.db;
        let Some(deployment) = db::deployments::find(db, name).await? else {
            return Err(Error::new(
                Code::DeploymentNotFound,
                format!("Deployment '{name}' doesn't exist"),
            ));
        };
        if !self.may(permission, &[]) {
            let teams = db::deployments::teams(db).await?.remove(&deployment.id);
            self.user
                .require(permission, &self.director.uuid, &teams.unwrap_or_default())?;
        }
        Ok(deployment)
    }

    /// Records an event of the user's.
    pub(super) async fn event(&self, mut event: db::events::NewEvent) -> Result<()> {
        if self.director.config.record_events {
            event.user.clone_from(&self.user.name);
            db::events::create(&self.director.db, event).await?;
        }
        Ok(())
    }
}

/// Whether some text in this JSON has a NUL: `\u0000` behind no other backslash.
fn has_nul(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        rest = &rest[at..];
        if rest.starts_with(NUL) {
            return true;
        }
        // Past the backslash and what it escapes.
        rest = rest.get(2..).unwrap_or_default();
    }
    false
}

/// JSON of a certain shape.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    if has_nul(body) {
        return Err(Error::new(
            Code::InvalidJsonError,
            "Invalid JSON request body: expected text without NUL",
        ));
    }
    serde_json::from_slice(body).map_err(|error| {
        Error::new(
            Code::InvalidJsonError,
            format!("Invalid JSON request body: {error}"),
        )
    })
}

/// YAML that must be an object, as text and parsed.
pub(super) fn parse_yaml(body: &[u8]) -> Result<(String, serde_json::Value)> {
    if body.is_empty() {
        return Err(Error::new(
            Code::BadManifest,
            "Manifest should not be empty",
        ));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let why = format!("Incorrect YAML structure of the uploaded manifest: {error}");
        Error::new(Code::BadManifest, why)
    })?;
    let value =
        raw::parse(text).map_err(|error| Error::new(Code::BadManifest, error.to_string()))?;
    if !value.is_object() {
        return Err(Error::new(Code::BadManifest, "Manifest should be a hash"));
    }
    Ok((text.to_owned(), value))
}
