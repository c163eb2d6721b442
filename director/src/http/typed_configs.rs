//! `/cloud_configs`, `/runtime_configs`, `/cpi_configs`: older names for configs
//! of one type.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Diff, TypedConfig};
use serde_json::{Map, Value};

use super::auth::Permission;
use super::diff;
use super::error::{Error, Result};
use super::{Request, configs, reply};
use crate::db;
use crate::manifest::raw;

/// Which type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `/cloud_configs`
    Cloud,
    /// `/runtime_configs`
    Runtime,
    /// `/cpi_configs`
    Cpi,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Runtime => "runtime",
            Self::Cpi => "cpi",
        }
    }
}

pub(super) async fn list(request: Request, kind: Kind) -> Result {
    request.require(if kind == Kind::Cpi {
        Permission::Admin
    } else {
        Permission::Read
    })?;
    let limit = match request.param("limit") {
        None | Some("") => return Err(Error::bad_request("limit is required")),
        Some(limit) => limit.parse().map_err(|_| {
            Error::bad_request(format!("limit is invalid: '{limit}' is not an integer"))
        })?,
    };
    let filter = db::configs::Filter {
        kind: Some(kind.name().to_owned()),
        name: Some(name(&request, kind)),
        limit,
    };
    let configs = db::configs::list(&request.director.db, &filter).await?;
    let configs: Vec<TypedConfig> = configs
        .into_iter()
        .map(|config| TypedConfig {
            properties: config.content,
            created_at: config.created_at.to_ruby(),
        })
        .collect();
    Ok(reply::json(&configs))
}

pub(super) async fn update(request: Request, kind: Kind, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let name = name(&request, kind);
    let result = store(&request, kind, &name, &body).await;
    let error = match &result {
        Ok(false) => None,
        Ok(true) => Some(None),
        Err(error) => Some(Some(error.text())),
    };
    if let Some(error) = error {
        request
            .event(db::events::NewEvent {
                action: "update".to_owned(),
                object_type: format!("{}-config", kind.name()),
                object_name: (kind != Kind::Cpi).then_some(name),
                error,
                ..db::events::NewEvent::default()
            })
            .await?;
    }
    result?;
    Ok(StatusCode::CREATED.into_response())
}

/// Whether there is a new version.
async fn store(request: &Request, kind: Kind, name: &str, body: &[u8]) -> Result<bool> {
    let (text, parsed) = request.yaml(body)?;
    let text = match kind {
        Kind::Runtime => configs::with_text_versions(parsed)?,
        _ => text,
    };
    let db = &request.director.db;
    let latest = db::configs::latest(db, kind.name(), name).await?;
    if latest.is_some_and(|latest| latest.content == text) {
        return Ok(false);
    }
    db::configs::create(db, kind.name(), name, &text).await?;
    Ok(true)
}

pub(super) async fn diff(request: Request, kind: Kind, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let (_, new) = request.yaml(&body)?;
    let latest =
        db::configs::latest(&request.director.db, kind.name(), &name(&request, kind)).await?;
    let old = match latest {
        Some(config) => raw::parse(&config.content)?,
        None => Value::Null,
    };
    let old = if old.is_object() {
        old
    } else {
        Value::Object(Map::new())
    };
    let redact = kind != Kind::Cloud && request.param("redact") != Some("false");
    Ok(reply::json(&Diff {
        diff: diff::lines(&old, &new, redact),
        ..Diff::default()
    }))
}

fn name(request: &Request, kind: Kind) -> String {
    match request.param("name") {
        Some(name) if !name.is_empty() && kind != Kind::Cpi => name.to_owned(),
        _ => "default".to_owned(),
    }
}
