//! `/deployments`: the list, deploys, manifests, deletion, and the diff before a deploy.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::Path;
use bosh_director_api::{
    Code, ConfigReference, Deployment, DeploymentConfig, Diff, DiffContext, Manifest, NameVersion,
    Variable,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::auth::Permission;
use super::diff;
use super::error::{Error, Result};
use super::request::parse_json;
use super::{Request, reply};
use crate::db::{self, ConfigId, DeploymentId};
use crate::manifest::raw;
use crate::tasks::{Work, jobs};

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ReadOwn)?;
    let db = &request.director.db;
    let with = |part: &str| !request.flag(&format!("exclude_{part}"));
    let deployments = db::deployments::list(db).await?;
    let mut teams = db::deployments::teams(db).await?;
    let mut configs = match with("configs") {
        true => Some((
            db::deployments::all_config_ids(db, "cloud").await?,
            db::deployments::latest_config_ids(db, "cloud").await?,
        )),
        false => None,
    };
    let mut stemcells = match with("stemcells") {
        true => Some(grouped(
            db::deployments::stemcells(db, None).await?,
            |used| used.deployment_id,
            |used| NameVersion {
                name: used.name,
                version: used.version,
            },
        )),
        false => None,
    };
    let mut releases = match with("releases") {
        true => Some(grouped(
            db::deployments::releases(db, None).await?,
            |used| used.deployment_id,
            |used| NameVersion {
                name: used.name,
                version: used.version,
            },
        )),
        false => None,
    };
    let locks = if with("lock") {
        Some(db::locks::list(db).await?)
    } else {
        None
    };

    let mut shown = Vec::with_capacity(deployments.len());
    for deployment in deployments {
        let teams = teams.remove(&deployment.id).unwrap_or_default();
        if !request.may(Permission::Read, &teams) {
            continue;
        }
        let id = deployment.id;
        shown.push(Deployment {
            cloud_config: configs
                .as_mut()
                .map(|(used, latest)| cloud_config_state(used.remove(&id), latest).to_owned()),
            stemcells: stemcells
                .as_mut()
                .map(|map| map.remove(&id).unwrap_or_default()),
            releases: releases
                .as_mut()
                .map(|map| map.remove(&id).unwrap_or_default()),
            locked: locks.as_ref().map(|locks| {
                locks.iter().any(|lock| {
                    lock.name.strip_prefix("lock:deployment:") == Some(deployment.name.as_str())
                })
            }),
            name: deployment.name,
            teams,
        });
    }
    Ok(reply::json(&shown))
}

fn cloud_config_state(used: Option<Vec<ConfigId>>, latest: &[ConfigId]) -> &'static str {
    match used {
        None => "none",
        Some(used) if used == latest => "latest",
        Some(_) => "outdated",
    }
}

fn grouped<T, U>(
    rows: Vec<T>,
    key: impl Fn(&T) -> DeploymentId,
    value: impl Fn(T) -> U,
) -> HashMap<DeploymentId, Vec<U>> {
    let mut map: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        map.entry(key(&row)).or_default().push(value(row));
    }
    map
}

pub(super) async fn show(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Read).await?;
    Ok(reply::json(&Manifest {
        manifest: deployment.manifest_text,
    }))
}

pub(super) async fn deploy(request: Request, body: Bytes) -> Result {
    request.require(Permission::TeamAdmin)?;
    let (text, manifest) = request.yaml(&body)?;
    let name = match manifest.get("name") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => {
            return Err(Error::new(
                Code::ValidationMissingField,
                "Deployment manifest must have a 'name' key",
            ));
        }
    };
    let mut options = jobs::update_deployment::Options {
        deploy: true,
        dry_run: request.flag("dry_run"),
        recreate: request.flag("recreate"),
        recreate_persistent_disks: request.flag("recreate_persistent_disks"),
        fix: request.flag("fix"),
        force_latest_variables: request.flag("force_latest_variables"),
        skip_drain: request.param("skip_drain").map(str::to_owned),
        canaries: request.param("canaries").map(str::to_owned),
        max_in_flight: request.param("max_in_flight").map(str::to_owned),
        ..jobs::update_deployment::Options::default()
    };
    if let Some(before) = request.param("recreate_vms_created_before") {
        options.recreate_vms_created_before =
            Some(created_before(before, options.recreate, "recreate=true")?);
    }
    let db = &request.director.db;
    let existing = match db::deployments::find(db, &name).await? {
        Some(_) => Some(request.deployment(&name, Permission::Admin).await?),
        None => None,
    };
    let teams = teams(&request, existing.as_ref()).await?;
    let (cloud, runtime) = configs(&request, &teams).await?;
    options.new = existing.is_none();
    let deployment = match existing {
        Some(deployment) => deployment,
        None => create(&request, &name).await?,
    };
    let description = if options.dry_run {
        "create deployment (dry run)"
    } else {
        "create deployment"
    };
    let work = Work::UpdateDeployment(jobs::update_deployment::UpdateDeployment {
        deployment: deployment.name.clone(),
        manifest: text,
        cloud_config_ids: cloud,
        runtime_config_ids: runtime,
        options,
    });
    reply::enqueue(&request, work, Some(&deployment.name), description).await
}

/// A new deployment; it belongs to the teams of whoever made it.
async fn create(request: &Request, name: &str) -> Result<db::deployments::Deployment> {
    if !is_valid_id(name) {
        return Err(Error::new(
            Code::ValidationInvalidValue,
            format!(
                "Invalid deployment name '{name}': expected letters, digits, '-', '_', '.', \
                 '+' and nothing else"
            ),
        ));
    }
    let tx = request.director.db.begin().await?;
    let deployment = db::deployments::find_or_create(&tx, name).await?;
    let mut teams = Vec::new();
    for team in request.user.teams() {
        teams.push(db::misc::find_or_create_team(&tx, &team).await?);
    }
    if !teams.is_empty() {
        db::deployments::set_teams(&tx, deployment.id, &teams).await?;
    }
    tx.commit().await?;
    Ok(deployment)
}

/// Upstream: VALID_ID in bosh/director/models.rb.
fn is_valid_id(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

/// The teams of a deployment; of a new one, those of whoever makes it.
async fn teams(
    request: &Request,
    deployment: Option<&db::deployments::Deployment>,
) -> Result<Vec<String>> {
    Ok(match deployment {
        Some(deployment) => db::deployments::teams(&request.director.db)
            .await?
            .remove(&deployment.id)
            .unwrap_or_default(),
        None => request.user.teams(),
    })
}

/// The configs that the client saw in the diff, or else the newest ones; of these teams or nobody's.
async fn configs(request: &Request, teams: &[String]) -> Result<(Vec<ConfigId>, Vec<ConfigId>)> {
    let db = &request.director.db;
    let Some(context) = request.param("context") else {
        let ids = |configs: Vec<db::configs::Config>| configs.iter().map(|c| c.id).collect();
        return Ok((
            ids(db::configs::latest_set_for_teams(db, "cloud", teams).await?),
            ids(db::configs::latest_set_for_teams(db, "runtime", teams).await?),
        ));
    };
    let invalid = || {
        Error::new(
            Code::DeploymentInvalidConfigReference,
            "Context includes invalid config ID",
        )
    };
    let context: Map<String, Value> = parse_json(context.as_bytes())?;
    let ids = |key: &str| -> Result<Vec<ConfigId>> {
        let list = context
            .get(key)
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        list.iter()
            .map(|id| match id {
                Value::Number(id) => id.as_i64().and_then(|id| i32::try_from(id).ok()),
                Value::String(id) => id.parse().ok(),
                _ => None,
            })
            .map(|id| id.map(ConfigId).ok_or_else(invalid))
            .collect()
    };
    let (cloud, runtime) = (ids("cloud_config_ids")?, ids("runtime_config_ids")?);
    let names = db::misc::teams(db).await?;
    let is_ours = |config: &db::configs::Config| match config.team_id {
        None => true,
        Some(id) => names.get(&id).is_some_and(|name| teams.contains(name)),
    };
    for wanted in [&cloud, &runtime] {
        if wanted.is_empty() {
            continue;
        }
        let found = db::configs::by_ids(db, wanted).await?;
        if found.len() != wanted.len() || !found.iter().all(is_ours) {
            return Err(invalid());
        }
    }
    Ok((cloud, runtime))
}

/// A time in RFC 3339, with what must be given along with it.
pub(super) fn created_before(text: &str, allowed: bool, needed: &str) -> Result<String> {
    if !allowed {
        return Err(Error::new(
            Code::ValidationInvalidValue,
            format!("Must pass {needed} when specifying recreate_vms_created_before"),
        ));
    }
    if OffsetDateTime::parse(text, &Rfc3339).is_err() {
        return Err(Error::new(
            Code::ValidationInvalidValue,
            format!("Invalid RFC 3339 timestamp for recreate_vms_created_before: {text}"),
        ));
    }
    Ok(text.to_owned())
}

pub(super) async fn delete(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let work = Work::DeleteDeployment(jobs::delete_deployment::DeleteDeployment {
        deployment: deployment.name.clone(),
        force: request.flag("force"),
        keep_snapshots: request.flag("keep_snapshots"),
    });
    reply::enqueue(
        &request,
        work,
        Some(&name),
        format!("delete deployment {name}"),
    )
    .await
}

pub(super) async fn diff(request: Request, Path(name): Path<String>, body: Bytes) -> Result {
    let db = &request.director.db;
    let deployment = match db::deployments::find(db, &name).await? {
        Some(_) => Some(request.deployment(&name, Permission::Admin).await?),
        None => {
            request.require(Permission::TeamAdmin)?;
            None
        }
    };
    request.expect(super::Media::Yaml)?;
    let result = match super::request::parse_yaml(&body) {
        Ok((_, manifest)) => differences(&request, deployment, manifest).await,
        Err(error) => Err(error),
    };
    match result {
        Ok(diff) => Ok(reply::json(&diff)),
        Err(error @ (Error::Coded { .. } | Error::Plain(..))) => Ok(reply::json(&Diff {
            error: Some(format!("Unable to diff manifest: {}", error.text())),
            ..Diff::default()
        })),
        Err(error) => Err(error),
    }
}

async fn differences(
    request: &Request,
    deployment: Option<db::deployments::Deployment>,
    mut manifest: Value,
) -> Result<Diff> {
    let db = &request.director.db;
    let mut before = diff::Side::default();
    if let Some(deployment) = &deployment {
        manifest["name"] = Value::String(deployment.name.clone());
        if let Some(text) = &deployment.manifest {
            before.manifest = raw::parse(text)?;
        }
        for (kind, documents) in [
            ("cloud", &mut before.cloud),
            ("runtime", &mut before.runtime),
        ] {
            let ids = db::deployments::config_ids(db, deployment.id, kind).await?;
            *documents = documents_of(db::configs::by_ids(db, &ids).await?)?;
        }
    }
    let teams = teams(request, deployment.as_ref()).await?;
    let cloud = db::configs::latest_set_for_teams(db, "cloud", &teams).await?;
    let runtime = db::configs::latest_set_for_teams(db, "runtime", &teams).await?;
    let ids = |configs: &[db::configs::Config]| configs.iter().map(|c| c.id.0).collect();
    let context = DiffContext {
        cloud_config_ids: ids(&cloud),
        runtime_config_ids: ids(&runtime),
    };
    let after = diff::Side {
        manifest,
        cloud: documents_of(cloud)?,
        runtime: documents_of(runtime)?,
    };
    let redact = request.param("redact") != Some("false");
    Ok(Diff {
        context: Some(context),
        diff: diff::manifests(db, &before, &after, &teams, redact).await?,
        ..Diff::default()
    })
}

fn documents_of(configs: Vec<db::configs::Config>) -> Result<Vec<Value>> {
    configs
        .into_iter()
        .map(|config| Ok(raw::parse(&config.content)?))
        .collect()
}

pub(super) async fn variables(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let db = &request.director.db;
    let variables = db::variables::of_deployment(db, deployment.id).await?;
    let variables: Vec<Variable> = variables
        .into_iter()
        .map(|(id, name)| Variable { id, name })
        .collect();
    Ok(reply::json(&variables))
}

pub(super) async fn configs_in_use(request: Request) -> Result {
    request.require(Permission::ReadOwn)?;
    let db = &request.director.db;
    let names = request.params("deployment");
    let mut teams = db::deployments::teams(db).await?;
    let used = db::deployments::configs_in_use(db).await?;
    let shown: Vec<DeploymentConfig> = used
        .into_iter()
        .filter(|used| names.is_empty() || names.contains(&used.deployment))
        .filter(|used| {
            request.may(
                Permission::Read,
                teams.entry(used.deployment_id).or_default(),
            )
        })
        .map(|used| DeploymentConfig {
            id: used.deployment_id.0,
            deployment: used.deployment,
            config: ConfigReference {
                id: used.config_id.0,
                kind: used.kind,
                name: used.name,
            },
        })
        .collect();
    Ok(reply::json(&shown))
}
