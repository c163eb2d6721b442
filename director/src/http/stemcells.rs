//! `/stemcells` and `/stemcell_uploads`.

use axum::body::{Body, Bytes};
use axum::extract::Path;
use bosh_director_api::{Code, DeploymentName, Stemcell, StemcellUploadNeeded};
use serde_json::Value;

use super::auth::Permission;
use super::error::{Error, Result};
use super::request::parse_json;
use super::{Request, reply, uploads};
use crate::db;
use crate::tasks::{Work, jobs};

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ReadOwn)?;
    let db = &request.director.db;
    let mut deployments = db::stemcells::deployments_using(db).await?;
    let stemcells = db::stemcells::list(db).await?;
    let stemcells: Vec<Stemcell> = stemcells
        .into_iter()
        .map(|stemcell| Stemcell {
            deployments: deployments
                .remove(&stemcell.id)
                .unwrap_or_default()
                .into_iter()
                .map(|name| DeploymentName { name })
                .collect(),
            name: stemcell.name,
            operating_system: stemcell.operating_system,
            version: stemcell.version,
            cid: stemcell.cid,
            cpi: stemcell.cpi,
            api_version: stemcell.api_version,
            id: stemcell.id.0,
        })
        .collect();
    Ok(reply::json(&stemcells))
}

pub(super) async fn upload(request: Request, body: Body) -> Result {
    request.require(Permission::UploadStemcells)?;
    let (source, sha1) = uploads::receive(&request, body).await?;
    let work = Work::UpdateStemcell(jobs::update_stemcell::UpdateStemcell {
        source,
        sha1,
        fix: request.flag("fix"),
    });
    reply::enqueue(&request, work, None, "create stemcell").await
}

pub(super) async fn delete(
    request: Request,
    Path((name, version)): Path<(String, String)>,
) -> Result {
    request.require(Permission::Admin)?;
    let found = db::stemcells::find(&request.director.db, &name, &version).await?;
    if found.is_empty() {
        let why = format!("Stemcell '{name}/{version}' doesn't exist");
        return Err(Error::new(Code::StemcellNotFound, why));
    }
    let description = format!("delete stemcell: {name}/{version}");
    let force = request.flag("force");
    let work = Work::DeleteStemcell(jobs::delete_stemcell::DeleteStemcell {
        name,
        version,
        force,
    });
    reply::enqueue(&request, work, None, description).await
}

/// Whether the CLI must send a stemcell: some CPI has never been offered it.
pub(super) async fn is_needed(request: Request, body: Bytes) -> Result {
    request.require(Permission::ReadOwn)?;
    let body: Value = parse_json(&body)?;
    let missing = |field: &str| {
        Error::new(
            Code::ValidationMissingField,
            format!("Missing '{field}' field"),
        )
    };
    let stemcell = body.get("stemcell").filter(|v| !v.is_null());
    let stemcell = stemcell.ok_or_else(|| missing("stemcell"))?;
    let text = |field: &str| match stemcell.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value) if value.is_number() => Ok(value.to_string()),
        _ => Err(missing(field)),
    };
    let (name, version) = (text("name")?, text("version")?);
    let director = &request.director;
    let offered = db::stemcells::uploads(&director.db, &name, &version).await?;
    let cpis = director.cpis().await?;
    let mut needed = false;
    for cpi in cpis.all_names() {
        let aliases = cpis.aliases(&cpi)?;
        needed |= !aliases.iter().any(|alias| offered.contains(alias));
    }
    Ok(reply::json(&StemcellUploadNeeded { needed }))
}
