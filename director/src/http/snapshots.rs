//! Snapshots of disks (upstream: deployments_controller.rb, snapshot_manager.rb).

use axum::extract::Path;
use bosh_director_api::{Code, Snapshot};

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, instances, reply};
use crate::db;
use crate::tasks::{Work, jobs};

pub(super) async fn list(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    show(&request, &deployment, |_| true).await
}

pub(super) async fn of_instance(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    show(&request, &deployment, |snapshot| {
        let same = if is_index(&id) {
            id.parse() == Ok(snapshot.index)
        } else {
            snapshot.uuid.as_ref() == Some(&id)
        };
        snapshot.job == group && same
    })
    .await
}

/// As upstream tells an index from an id.
fn is_index(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

async fn show(
    request: &Request,
    deployment: &db::deployments::Deployment,
    wanted: impl Fn(&db::disks::InstanceSnapshot) -> bool,
) -> Result {
    let found = db::disks::snapshots_of_deployment(&request.director.db, deployment.id).await?;
    let shown: Vec<Snapshot> = found
        .into_iter()
        .filter(wanted)
        .map(|snapshot| Snapshot {
            job: snapshot.job,
            index: snapshot.index,
            uuid: snapshot.uuid,
            snapshot_cid: snapshot.snapshot_cid,
            created_at: snapshot.created_at.to_ruby(),
            clean: snapshot.clean.unwrap_or(false),
        })
        .collect();
    Ok(reply::json(&shown))
}

pub(super) async fn take_all(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let work = Work::SnapshotDeployment(jobs::snapshot_deployment::SnapshotDeployment {
        deployment: deployment.name,
    });
    reply::enqueue(&request, work, Some(&name), "snapshot deployment").await
}

pub(super) async fn take(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let instance = if is_index(&id) {
        instances::find(&request, &deployment, &group, &id).await?
    } else {
        // The group is not looked at, as upstream.
        let all = db::instances::by_deployment(&request.director.db, deployment.id).await?;
        let found = all.into_iter().find(|instance| instance.uuid() == id);
        found.ok_or_else(|| {
            let why = format!("No instances matched {id} in deployment '{name}'");
            Error::new(Code::InstanceNotFound, why)
        })?
    };
    let work = Work::CreateSnapshot(jobs::create_snapshot::CreateSnapshot {
        deployment: deployment.name,
        instance: instance.id,
    });
    reply::enqueue(&request, work, None, "create snapshot").await
}

pub(super) async fn delete_all(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let work = Work::DeleteDeploymentSnapshots(
        jobs::delete_deployment_snapshots::DeleteDeploymentSnapshots {
            deployment: deployment.name,
        },
    );
    reply::enqueue(&request, work, Some(&name), "delete deployment snapshots").await
}

pub(super) async fn delete(request: Request, Path((name, cid)): Path<(String, String)>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    let missing = |why: &str| {
        Error::new(
            Code::SnapshotNotFound,
            format!("snapshot {cid} not found{why}"),
        )
    };
    match db::disks::deployment_of_snapshot(&request.director.db, &cid).await? {
        None => return Err(missing("")),
        Some(owner) if owner != deployment.id => {
            return Err(missing(&format!(" in deployment {name}")));
        }
        Some(_) => {}
    }
    let work = Work::DeleteSnapshots(jobs::delete_snapshots::DeleteSnapshots {
        deployment: deployment.name,
        cids: vec![cid],
    });
    reply::enqueue(&request, work, None, "delete snapshot").await
}
