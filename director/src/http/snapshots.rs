//! Snapshots of disks: the lists. Taking and deleting them is not there yet.

use axum::extract::Path;
use serde_json::json;

use super::auth::Permission;
use super::error::Result;
use super::{Request, reply};
use crate::db;

pub(super) async fn list(request: Request, Path(name): Path<String>) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    show(&request, &deployment, None).await
}

pub(super) async fn of_instance(
    request: Request,
    Path((name, group, id)): Path<(String, String, String)>,
) -> Result {
    let deployment = request.deployment(&name, Permission::Admin).await?;
    show(&request, &deployment, Some((group, id))).await
}

async fn show(
    request: &Request,
    deployment: &db::deployments::Deployment,
    only: Option<(String, String)>,
) -> Result {
    let db = &request.director.db;
    let disks = db::disks::by_deployment(db, deployment.id).await?;
    let mut shown = Vec::new();
    for instance in db::instances::by_deployment(db, deployment.id).await? {
        if let Some((group, id)) = &only
            && (instance.job != *group
                || (instance.uuid() != id && instance.index.to_string() != *id))
        {
            continue;
        }
        for disk in disks.iter().filter(|disk| disk.instance_id == instance.id) {
            for snapshot in db::disks::snapshots(db, disk.id).await? {
                shown.push(json!({
                    "job": instance.job,
                    "index": instance.index,
                    "uuid": instance.uuid,
                    "snapshot_cid": snapshot.snapshot_cid,
                    "created_at": snapshot.created_at.to_ruby(),
                    "clean": snapshot.clean,
                }));
            }
        }
    }
    Ok(reply::json(&shown))
}
