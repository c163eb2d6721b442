//! `/users`: local users that are kept in the database, as in the first releases of BOSH.
//!
//! Only where director.yml names none itself: what it says is the operator's, not the API's to change.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Code, NewUser};

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::config::UserManagement;
use crate::db;
use crate::passwords;

/// Longest name.
const NAME: usize = 255;

pub(super) async fn list(request: Request) -> Result {
    check_supported(&request)?;
    Ok(reply::json(&db::users::names(&request.director.db).await?))
}

pub(super) async fn create(request: Request, body: Bytes) -> Result {
    check_supported(&request)?;
    let wanted: NewUser = request.json(&body)?;
    let password = check(&wanted)?;
    let hash = hash(password).await?;
    if !db::users::create(&request.director.db, &wanted.username, &hash).await? {
        let why = format!("The username '{}' is already taken", wanted.username);
        return Err(Error::new(Code::UserNameTaken, why));
    }
    record(&request, "create", wanted.username).await
}

pub(super) async fn update(request: Request, Path(name): Path<String>, body: Bytes) -> Result {
    check_supported(&request)?;
    let wanted: NewUser = request.json(&body)?;
    if wanted.username != name {
        return Err(Error::new(
            Code::UserImmutableUsername,
            "The username is immutable",
        ));
    }
    let password = check(&wanted)?;
    let hash = hash(password).await?;
    if !db::users::update(&request.director.db, &name, &hash).await? {
        return Err(missing(&name));
    }
    record(&request, "update", name).await
}

pub(super) async fn delete(request: Request, Path(name): Path<String>) -> Result {
    check_supported(&request)?;
    if !db::users::delete(&request.director.db, &name).await? {
        return Err(missing(&name));
    }
    record(&request, "delete", name).await
}

fn check_supported(request: &Request) -> Result<()> {
    request.require(Permission::Admin)?;
    let provider = match &request.director.config.user_management {
        UserManagement::Local(users) if users.is_empty() => return Ok(()),
        UserManagement::Local(_) => "the users of director.yml",
        UserManagement::Uaa(_) => "UAA",
    };
    let why = format!("User management is not supported via the API with {provider}");
    Err(Error::new(Code::UserManagementNotSupported, why))
}

/// The password of a user that can be.
fn check(wanted: &NewUser) -> Result<&str> {
    let mut problems = Vec::new();
    if wanted.password.is_empty() || wanted.password.len() > passwords::LONGEST {
        problems.push("password presence");
    }
    let name = &wanted.username;
    if name.is_empty() || name.len() > NAME || name.contains(':') {
        // A colon ends the name where a request says who makes it.
        problems.push("username presence");
    }
    if problems.is_empty() {
        return Ok(&wanted.password);
    }
    let why = format!("The user is invalid: {}", problems.join(", "));
    Err(Error::new(Code::UserInvalid, why))
}

/// Takes its time, on purpose.
async fn hash(password: &str) -> Result<String> {
    let password = password.to_owned();
    tokio::task::spawn_blocking(move || passwords::hash(&password))
        .await
        .map_err(|error| Error::Internal(error.into()))?
        .map_err(|error| Error::Internal(error.into()))
}

fn missing(name: &str) -> Error {
    Error::new(Code::UserNotFound, format!("User '{name}' doesn't exist"))
}

async fn record(request: &Request, action: &str, name: String) -> Result {
    request
        .event(db::events::NewEvent {
            action: action.to_owned(),
            object_type: "user".to_owned(),
            object_name: Some(name),
            ..db::events::NewEvent::default()
        })
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
