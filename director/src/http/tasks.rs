//! `/tasks`, `/task/ID` and `/locks`.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{CancelTasks, Code, Lock};

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db::{self, TaskId, Timestamp};
use crate::tasks::{LogKind, Task};

/// The kinds that `bosh tasks` lists unless asked for all.
const USUAL: [&str; 13] = [
    "attach_disk",
    "create_snapshot",
    "delete_deployment",
    "delete_release",
    "delete_snapshot",
    "delete_stemcell",
    "run_errand",
    "snapshot_deployment",
    "update_instance",
    "update_deployment",
    "update_release",
    "update_stemcell",
    "export_release",
];

pub(super) async fn list(request: Request) -> Result {
    request.require(Permission::ReadOwn)?;
    let split = |value: Option<&str>| -> Vec<String> {
        value
            .unwrap_or_default()
            .split(',')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut filter = db::tasks::Filter {
        states: split(request.param("state")),
        deployment: request.param("deployment").map(str::to_owned),
        context_id: request.param("context_id").map(str::to_owned),
        // As Ruby reads a number: none at all is zero, and one is the least.
        limit: request
            .param("limit")
            .map(|limit| limit.parse().unwrap_or(1).max(1)),
        ..db::tasks::Filter::default()
    };
    if !request.may(Permission::Read, &[]) {
        filter.teams = Some(request.user.teams());
    }
    if request.param("verbose").unwrap_or("1") == "1" {
        filter.kinds = USUAL.map(str::to_owned).to_vec();
    }
    let tasks = db::tasks::list(&request.director.db, &filter).await?;
    Ok(reply::json(
        &tasks.into_iter().map(shown).collect::<Vec<_>>(),
    ))
}

pub(super) async fn show(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::ReadOwn)?;
    let task = find(&request, &id).await?;
    allow(&request, &task, Permission::Read)
        .await
        .map_err(|error| match error {
            Error::Coded {
                code,
                status,
                description,
            } => Error::Coded {
                code,
                status,
                description: description.replace(
                    "Require one of the scopes:",
                    "One of the following scopes is required to access this task:",
                ),
            },
            other => other,
        })?;
    Ok(reply::json(&shown(task)))
}

pub(super) async fn output(request: Request, Path(id): Path<String>) -> Result {
    let task = find(&request, &id).await?;
    let (kind, permission) = match request.param("type") {
        None | Some("debug") => (LogKind::Debug, Permission::Admin),
        Some("cpi") => (LogKind::Cpi, Permission::Admin),
        Some("event") => (LogKind::Event, Permission::Read),
        Some("result") => (LogKind::Result, Permission::Read),
        Some("none") => {
            allow(&request, &task, Permission::Read).await?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Some(other) => {
            return Err(Error::new(
                Code::UnauthorizedToAccessDeployment,
                format!("Unknown type {other}"),
            ));
        }
    };
    allow(&request, &task, permission).await?;
    let tasks = &request.director.tasks;
    match tasks.log_file(&task, kind).await? {
        Some(path) => reply::text_file(&path, &request.headers).await,
        // Of a machine that shares the database, or of upstream's director.
        None => match tasks.kept_output(&task, kind).await? {
            Some(text) => reply::text(&text, &request.headers),
            None => Ok(StatusCode::NO_CONTENT.into_response()),
        },
    }
}

pub(super) async fn cancel(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    let task = find(&request, &id).await?;
    match request.director.tasks.cancel(task.id).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) if error.code() == Code::TaskUnexpectedState.number() => {
            Err(Error::bad_request(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn cancel_many(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let selector: CancelTasks = request.json(&body)?;
    let mut states = selector.states.unwrap_or_default();
    if let Some(state) = states
        .iter()
        .find(|s| !["queued", "processing"].contains(&s.as_str()))
    {
        return Err(Error::bad_request(format!(
            "{state} is not one of the cancellable states: queued, processing"
        )));
    }
    if states.is_empty() {
        states.push("queued".to_owned());
    }
    let filter = db::tasks::Filter {
        states,
        kinds: selector.types.unwrap_or_default(),
        deployment: selector.deployment,
        ..db::tasks::Filter::default()
    };
    for task in db::tasks::list(&request.director.db, &filter).await? {
        match request.director.tasks.cancel(task.id).await {
            Ok(()) => {}
            Err(error) if error.code() == Code::TaskUnexpectedState.number() => {
                tracing::info!(task = %task.id, "task ended before it was cancelled");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn locks(request: Request) -> Result {
    request.require(Permission::Read)?;
    let locks = db::locks::list(&request.director.db).await?;
    let locks: Vec<Lock> = locks
        .into_iter()
        .map(|lock| {
            let mut parts = lock.name.split(':').skip(1).map(str::to_owned);
            Lock {
                kind: parts.next().unwrap_or_default(),
                resource: parts.collect(),
                timeout: seconds(lock.expired_at),
                task_id: lock.task_id,
            }
        })
        .collect();
    Ok(reply::json(&locks))
}

async fn find(request: &Request, id: &str) -> Result<Task> {
    let not_found = || Error::new(Code::TaskNotFound, format!("Task {id} not found"));
    let id: TaskId = id.parse().map_err(|_| not_found())?;
    Ok(request.director.tasks.find(id).await?)
}

/// Refuses users who may not; a task belongs to the teams of its deployment.
async fn allow(request: &Request, task: &Task, permission: Permission) -> Result<()> {
    if request.may(permission, &[]) {
        return Ok(());
    }
    let teams = db::tasks::teams(&request.director.db, task.id).await?;
    request
        .user
        .require(permission, &request.director.uuid, &teams)
}

fn shown(task: Task) -> bosh_director_api::Task {
    let under_way = ["queued", "processing"].contains(&task.state.as_str());
    bosh_director_api::Task {
        id: task.id.0,
        timestamp: (!under_way).then(|| task.timestamp.unix()),
        state: task.state,
        description: task.description,
        started_at: task.started_at.map(Timestamp::unix),
        result: task.result,
        user: task.username.unwrap_or_else(|| "admin".to_owned()),
        deployment: task.deployment_name,
        context_id: task.context_id,
    }
}

fn seconds(time: Timestamp) -> String {
    format!("{}.{:06}", time.unix(), time.0.microsecond())
}
