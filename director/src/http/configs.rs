//! `/configs`: configs of any type.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Code, ConfigConflict, Diff, DiffFrom};
use serde_json::{Map, Value};

use super::auth::Permission;
use super::diff;
use super::error::{Error, Result};
use super::request::parse_json;
use super::{Media, Request, reply};
use crate::db::{self, ConfigId};
use crate::manifest::raw;

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ReadShared)?;
    let limit = match (request.param("limit"), request.param("latest")) {
        (Some(limit), latest) => {
            let limit: i64 = limit
                .parse()
                .map_err(|_| Error::new(Code::BadConfigRequest, "'limit' must be a number"))?;
            if limit < 1 {
                let why = "'limit' must be larger than zero";
                return Err(Error::new(Code::BadConfigRequest, why));
            }
            check_latest(latest)?;
            limit
        }
        (None, latest) => {
            check_latest(latest)?;
            if latest == Some("false") {
                i64::from(i32::MAX)
            } else {
                1
            }
        }
    };
    let filter = db::configs::Filter {
        kind: request.param("type").map(str::to_owned),
        name: request.param("name").map(str::to_owned),
        limit,
    };
    let db = &request.director.db;
    let mut configs = db::configs::list(db, &filter).await?;
    // `default` before the others of its type; the newest version first.
    configs.sort_by(|a, b| {
        let order = |c: &db::configs::Config| (c.kind.clone(), c.name != "default", c.name.clone());
        order(a).cmp(&order(b)).then(b.id.cmp(&a.id))
    });
    let teams = db::misc::teams(db).await?;
    let mut shown = Vec::with_capacity(configs.len());
    let mut previous: Option<(String, String)> = None;
    for config in configs {
        let key = (config.kind.clone(), config.name.clone());
        let current = previous.as_ref() != Some(&key);
        previous = Some(key);
        let team = config.team_id.and_then(|id| teams.get(&id).cloned());
        if request.may(Permission::Read, team.as_slice()) {
            shown.push(show_config(config, team, current));
        }
    }
    Ok(reply::json(&shown))
}

fn check_latest(latest: Option<&str>) -> Result<()> {
    match latest {
        None | Some("true" | "false") => Ok(()),
        Some(_) => Err(Error::new(
            Code::BadConfigRequest,
            "'latest' must be 'true' or 'false'",
        )),
    }
}

pub(super) async fn show(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::Read)?;
    let config = find(&request, &id).await?;
    let current = is_current(&request, &config).await?;
    let team = team_of(&request, &config).await?;
    Ok(reply::json(&show_config(config, team, current)))
}

/// The team that owns a config.
async fn team_of(request: &Request, config: &db::configs::Config) -> Result<Option<String>> {
    let Some(id) = config.team_id else {
        return Ok(None);
    };
    Ok(db::misc::teams(&request.director.db).await?.remove(&id))
}

/// Refuses users who may not change a config.
async fn allow(request: &Request, config: &db::configs::Config) -> Result<()> {
    let team = team_of(request, config).await?;
    request
        .user
        .require(Permission::Admin, &request.director.uuid, team.as_slice())
}

pub(super) async fn create(request: Request, body: Bytes) -> Result {
    request.require(Permission::TeamAdmin)?;
    request.expect(Media::Json)?;
    let body: Value = parse_object(&body)?;
    let kind = body
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let name = body
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let result = store(&request, &body, &kind, &name).await;
    if let Err(error) = &result {
        record(&request, "create", &kind, &name, Some(error.text())).await?;
    }
    result
}

async fn store(request: &Request, body: &Value, kind: &str, name: &str) -> Result {
    check_text(body, "type")?;
    check_text(body, "name")?;
    let content = body
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let parsed = parse_content(content)?;
    let content = match kind {
        "runtime" => with_text_versions(parsed)?,
        _ => content.to_owned(),
    };
    let db = &request.director.db;
    let current = db::configs::latest(db, kind, name).await?;
    let latest_id = current
        .as_ref()
        .map_or_else(|| "0".to_owned(), |c| c.id.to_string());
    let expected = match body.get("expected_latest_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(other) => Some(other.to_string()),
    };
    if let Some(expected_latest_id) = expected
        && expected_latest_id != latest_id
    {
        let description = format!("Latest Id: '{latest_id}' does not match expected latest id");
        let conflict = ConfigConflict {
            latest_id,
            expected_latest_id,
            description,
        };
        return Ok(reply::json_with(StatusCode::PRECONDITION_FAILED, &conflict));
    }
    if let Some(config) = &current {
        allow(request, config).await?;
    }
    let config = match current {
        Some(config) if config.content == content => config,
        _ => {
            let team = match request.user.teams().first() {
                Some(team) => Some(db::misc::find_or_create_team(db, team).await?),
                None => None,
            };
            let config = db::configs::create_for(db, kind, name, &content, team).await?;
            record(request, "create", kind, name, None).await?;
            config
        }
    };
    let team = team_of(request, &config).await?;
    Ok(reply::json_with(
        StatusCode::CREATED,
        &show_config(config, team, true),
    ))
}

async fn record(
    request: &Request,
    action: &str,
    kind: &str,
    name: &str,
    error: Option<String>,
) -> Result<()> {
    request
        .event(db::events::NewEvent {
            action: action.to_owned(),
            object_type: format!("config/{kind}"),
            object_name: Some(name.to_owned()),
            error,
            ..db::events::NewEvent::default()
        })
        .await
}

pub(super) async fn delete(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::TeamAdmin)?;
    let config = find(&request, &id).await?;
    allow(&request, &config).await?;
    let deleted = db::configs::delete_by_id(&request.director.db, config.id).await?;
    record(&request, "delete", &config.kind, &config.name, None).await?;
    Ok(gone(deleted))
}

pub(super) async fn delete_named(request: Request) -> Result {
    request.require(Permission::TeamAdmin)?;
    let required = |name: &str| match request.param(name) {
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        _ => Err(Error::new(
            Code::BadConfigRequest,
            format!("'{name}' is required"),
        )),
    };
    let (kind, name) = (required("type")?, required("name")?);
    let db = &request.director.db;
    let Some(config) = db::configs::latest(db, &kind, &name).await? else {
        return Ok(gone(false));
    };
    allow(&request, &config).await?;
    let deleted = db::configs::delete(db, &kind, &name).await?;
    record(&request, "delete", &kind, &name, None).await?;
    Ok(gone(deleted > 0))
}

fn gone(deleted: bool) -> axum::response::Response {
    if deleted {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
    .into_response()
}

pub(super) async fn diff(request: Request, body: Bytes) -> Result {
    request.require(Permission::ReadShared)?;
    request.expect(Media::Json)?;
    let body = parse_object(&body)?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut reply = Diff::default();
    let (old, new) = match (body.get("from"), body.get("to")) {
        (Some(from), Some(to)) => (side(&request, from).await?, side(&request, to).await?),
        (None, None) => {
            let (Some(kind), Some(name), Some(content)) = (
                text(&body, "type"),
                text(&body, "name"),
                text(&body, "content"),
            ) else {
                return Err(bad_diff());
            };
            let current = db::configs::latest(&request.director.db, &kind, &name).await?;
            let id = current
                .as_ref()
                .map_or_else(|| "0".to_owned(), |c| c.id.to_string());
            reply.from = Some(DiffFrom { id });
            let new = match parse_content(&content) {
                Ok(new) => new,
                Err(error) => return Ok(not_diffed(&error)),
            };
            if let Some(current) = &current {
                allow(&request, current).await?;
            }
            let old = current.map(|c| parse_content(&c.content)).transpose()?;
            (old.unwrap_or_else(|| Value::Object(Map::new())), new)
        }
        _ => return Err(bad_diff()),
    };
    reply.diff = diff::lines(&old, &new, true);
    Ok(reply::json(&reply))
}

async fn side(request: &Request, side: &Value) -> Result<Value> {
    let id = match side.get("id") {
        Some(Value::String(id)) => Some(id.clone()),
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    };
    if let Some(id) = id {
        let config = find(request, &id).await?;
        allow(request, &config).await?;
        return parse_content(&config.content);
    }
    let content = side
        .get("content")
        .and_then(Value::as_str)
        .ok_or_else(bad_diff)?;
    parse_content(content)
}

fn not_diffed(error: &Error) -> axum::response::Response {
    let error = Some(format!("Unable to diff config content: {}", error.text()));
    let reply = Diff {
        error,
        ..Diff::default()
    };
    reply::json_with(StatusCode::BAD_REQUEST, &reply)
}

fn bad_diff() -> Error {
    Error::new(
        Code::BadConfigRequest,
        "The following request formats are allowed:\n\
         1. {\"from\":<config>,\"to\":<config>} where <config> is either {\"id\":\"<id>\"} or \
         {\"content\":\"<content>\"}\n\
         2. {\"type\":\"<type>\",\"name\":\"<name>\",\"content\":\"<content>\"}",
    )
}

async fn find(request: &Request, id: &str) -> Result<db::configs::Config> {
    let found = match id.parse::<ConfigId>() {
        Ok(id) => db::configs::get(&request.director.db, id).await?,
        Err(_) => None,
    };
    found
        .filter(|config| !config.deleted.unwrap_or(false))
        .ok_or_else(|| Error::new(Code::ConfigNotFound, format!("Config {id} not found")))
}

async fn is_current(request: &Request, config: &db::configs::Config) -> Result<bool> {
    let latest = db::configs::latest(&request.director.db, &config.kind, &config.name).await?;
    Ok(latest.is_some_and(|latest| latest.id == config.id))
}

fn show_config(
    config: db::configs::Config,
    team: Option<String>,
    current: bool,
) -> bosh_director_api::Config {
    bosh_director_api::Config {
        content: config.content,
        id: config.id.to_string(),
        kind: config.kind,
        name: config.name,
        team,
        created_at: config.created_at.to_ruby(),
        current,
    }
}

fn parse_object(body: &[u8]) -> Result<Value> {
    let value: Value = parse_json(body)?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Error::new(Code::BadConfigRequest, "JSON object expected"))
}

fn check_text(body: &Value, key: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::new(Code::BadConfigRequest, format!("'{key}' {why}")));
    match body.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(()),
        None | Some(Value::Null) => bad("is required"),
        Some(Value::String(_)) => bad("is required"),
        Some(_) => bad("must be a string"),
    }
}

/// A config's content, which must be a YAML object.
fn parse_content(content: &str) -> Result<Value> {
    let value = raw::parse(content).map_err(|error| {
        Error::new(
            Code::BadConfig,
            format!("Config must be valid YAML: {error}"),
        )
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Error::new(Code::BadConfig, "YAML hash expected"))
}

/// A runtime config in which release versions such as `1.10` are text, not numbers.
pub(super) fn with_text_versions(mut config: Value) -> Result<String> {
    let releases = config.get_mut("releases").and_then(Value::as_array_mut);
    for release in releases.into_iter().flatten() {
        if let Some(version) = release.get_mut("version")
            && !version.is_string()
            && !version.is_null()
        {
            *version = Value::String(version.to_string());
        }
    }
    Ok(format!("---\n{}", raw::to_yaml(&config)?))
}
