//! Cloud check: looking for problems and repairing them.

use axum::body::Bytes;
use axum::extract::Path;
use bosh_director_api::{ApplyResolutions, Code, ScanAndFix};
use serde_json::Value;

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, misc, reply};
use crate::db;
use crate::tasks::{Work, jobs};

pub(super) async fn scan(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let work = Work::Scan(jobs::scan::Scan {
        deployment: deployment.name,
    });
    reply::enqueue(&request, work, Some(&name), "scan cloud").await
}

pub(super) async fn list(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let problems = db::problems::open(&request.director.db, deployment.id).await?;
    let mut described = Vec::new();
    for problem in problems {
        let words = crate::problems::describe(&request.director.db, &problem).await?;
        let resolutions = words
            .resolutions
            .iter()
            .map(|way| bosh_director_api::Resolution {
                name: way.name.to_owned(),
                plan: way.plan.to_owned(),
            });
        described.push(bosh_director_api::Problem {
            id: problem.id.0,
            data: problem.data(),
            description: words.description,
            kind: problem.kind,
            resolutions: resolutions.collect(),
            instance_group: words.group,
        });
    }
    Ok(reply::json(&described))
}

pub(super) async fn apply(request: Request, Path(name): Path<String>, body: Bytes) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let wanted: ApplyResolutions = request.json(&body)?;
    let work = Work::ApplyResolutions(jobs::apply_resolutions::ApplyResolutions {
        deployment: deployment.name,
        resolutions: wanted.resolutions,
        max_in_flight_overrides: wanted.max_in_flight_overrides.unwrap_or_default(),
    });
    reply::enqueue(&request, work, Some(&name), "apply resolutions").await
}

pub(super) async fn scan_and_fix(
    request: Request,
    Path(name): Path<String>,
    body: Bytes,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let wanted: ScanAndFix = request.json(&body)?;
    if misc::is_resurrection_paused(&request).await? {
        return Err(Error::new(
            Code::CloudcheckResurrectionPaused,
            "Resurrector is paused",
        ));
    }
    let all = db::instances::by_deployment(&request.director.db, deployment.id).await?;
    if all.iter().all(db::instances::Instance::is_ignored) {
        let why = format!("No instances of deployment '{name}' matched: all are ignored");
        return Err(Error::new(Code::InstanceNotFound, why));
    }
    let mut instances = Vec::new();
    for (group, ids) in wanted.jobs {
        for id in ids {
            let id = match id {
                Value::String(id) => id,
                other => other.to_string(),
            };
            instances.push((group.clone(), id));
        }
    }
    let work = Work::ScanAndFix(jobs::scan_and_fix::ScanAndFix {
        deployment: deployment.name,
        instances,
        fix_stateful: request.director.config.fix_stateful_nodes,
    });
    reply::enqueue(&request, work, Some(&name), "scan and fix").await
}
