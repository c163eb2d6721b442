//! `/deployments/NAME/properties`: properties set apart from the manifest, as in the first releases of BOSH.
//!
//! The next deploy renders templates with them, beneath whatever the manifest says.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Code, Property, PropertyValue};
use serde_json::Value;

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db;
use crate::db::deployments::Deployment;

pub(super) async fn list(request: Request, Path(deployment): Path<String>) -> Result {
    let deployment = request.deployment(&deployment, Permission::Read).await?;
    let found = db::properties::list(&request.director.db, deployment.id).await?;
    let shown: Vec<Property> = found
        .into_iter()
        .map(|property| Property {
            name: property.name,
            value: property.value,
        })
        .collect();
    Ok(reply::json(&shown))
}

pub(super) async fn show(
    request: Request,
    Path((deployment, name)): Path<(String, String)>,
) -> Result {
    let deployment = request.deployment(&deployment, Permission::Read).await?;
    match db::properties::find(&request.director.db, deployment.id, &name).await? {
        Some(property) => Ok(reply::json(&PropertyValue {
            value: property.value,
        })),
        None => Err(missing(&deployment, &name)),
    }
}

pub(super) async fn create(
    request: Request,
    Path(deployment): Path<String>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&deployment, Permission::Admin).await?;
    let body: Value = request.json(&body)?;
    let mut problems = Vec::new();
    let name = text(&body, "name", &mut problems);
    let value = text(&body, "value", &mut problems);
    let property = db::properties::Property {
        name: accepted(name, &problems)?,
        value: accepted(value, &problems)?,
    };
    if !db::properties::create(&request.director.db, deployment.id, &property).await? {
        return Err(Error::new(
            Code::PropertyAlreadyExists,
            format!(
                "Property '{}' already exists for deployment '{}'",
                property.name, deployment.name
            ),
        ));
    }
    record(&request, "create", &deployment, property.name).await
}

pub(super) async fn update(
    request: Request,
    Path((deployment, name)): Path<(String, String)>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&deployment, Permission::Admin).await?;
    let body: Value = request.json(&body)?;
    let db = &request.director.db;
    if db::properties::find(db, deployment.id, &name)
        .await?
        .is_none()
    {
        return Err(missing(&deployment, &name));
    }
    let mut problems = Vec::new();
    let value = text(&body, "value", &mut problems);
    let property = db::properties::Property {
        value: accepted(value, &problems)?,
        name,
    };
    if !db::properties::update(db, deployment.id, &property).await? {
        return Err(missing(&deployment, &property.name));
    }
    record(&request, "update", &deployment, property.name).await
}

pub(super) async fn delete(
    request: Request,
    Path((deployment, name)): Path<(String, String)>,
) -> Result {
    let deployment = request.deployment(&deployment, Permission::Admin).await?;
    if !db::properties::delete(&request.director.db, deployment.id, &name).await? {
        return Err(missing(&deployment, &name));
    }
    record(&request, "delete", &deployment, name).await
}

/// A text of the body that may not be missing or blank; numbers and truth values are taken as they are written.
fn text(body: &Value, key: &str, problems: &mut Vec<String>) -> Option<String> {
    let text = match body.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(value @ (Value::Array(_) | Value::Object(_))) => value.to_string(),
        None | Some(Value::Null) => String::new(),
    };
    if text.trim().is_empty() {
        problems.push(format!("{key} presence"));
        return None;
    }
    Some(text)
}

fn accepted(text: Option<String>, problems: &[String]) -> Result<String> {
    text.ok_or_else(|| {
        let why = format!("Property is invalid: {}", problems.join(", "));
        Error::new(Code::PropertyInvalid, why)
    })
}

fn missing(deployment: &Deployment, name: &str) -> Error {
    let why = format!(
        "Property '{name}' not found for deployment '{}'",
        deployment.name
    );
    Error::new(Code::PropertyNotFound, why)
}

async fn record(request: &Request, action: &str, deployment: &Deployment, name: String) -> Result {
    request
        .event(db::events::NewEvent {
            action: action.to_owned(),
            object_type: "property".to_owned(),
            object_name: Some(name),
            deployment: Some(deployment.name.clone()),
            ..db::events::NewEvent::default()
        })
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
