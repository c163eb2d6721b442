//! Small resources: resurrection, orphans, clean-up, blobs, VMs, deployed variables.

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bosh_director_api::{Cleanup, Code, OrphanDisk, OrphanedVm, Resurrection, SetResurrection};
use serde_json::json;

use super::auth::Permission;
use super::error::{Error, Result};
use super::{Request, reply};
use crate::db;
use crate::tasks::{Work, jobs};

/// The attribute that pauses all repairs.
pub(super) const RESURRECTION_PAUSED: &str = "resurrection_paused";

/// Whether the operator paused all repairs.
pub(super) async fn is_resurrection_paused(request: &Request) -> Result<bool> {
    let value = db::misc::attribute(&request.director.db, RESURRECTION_PAUSED).await?;
    Ok(value.is_some_and(|value| value != "false"))
}

pub(super) async fn resurrection(request: Request) -> Result {
    request.require(Permission::Admin)?;
    let resurrection = !is_resurrection_paused(&request).await?;
    Ok(reply::json(&Resurrection { resurrection }))
}

pub(super) async fn set_resurrection(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let wanted: SetResurrection = request.json(&body)?;
    let value = wanted.resurrection_paused.to_string();
    db::misc::set_attribute(&request.director.db, RESURRECTION_PAUSED, &value).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn orphan_disks(request: Request) -> Result {
    request.require(Permission::Admin)?;
    let disks = db::disks::orphans(&request.director.db).await?;
    let disks: Vec<OrphanDisk> = disks
        .into_iter()
        .map(|disk| OrphanDisk {
            cloud_properties: disk.cloud_properties(),
            disk_cid: disk.disk_cid,
            size: disk.size,
            az: disk.availability_zone,
            deployment_name: disk.deployment_name,
            instance_name: disk.instance_name,
            orphaned_at: disk.created_at.to_ruby(),
        })
        .collect();
    Ok(reply::json(&disks))
}

pub(super) async fn delete_disk(request: Request, Path(cid): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    if matches!(request.param("orphan"), None | Some("false")) {
        check_is_orphan(&request, &cid).await?;
        let work = Work::DeleteOrphanDisks(jobs::delete_orphan_disks::DeleteOrphanDisks {
            disk_cids: vec![cid],
        });
        return reply::enqueue(&request, work, None, "delete orphan disks").await;
    }
    let work = Work::OrphanDisk(jobs::orphan_disk::OrphanDisk { disk_cid: cid });
    reply::enqueue(&request, work, None, "orphan disk").await
}

/// A disk that an instance has is not deleted this way.
async fn check_is_orphan(request: &Request, cid: &str) -> Result<()> {
    if db::disks::find(&request.director.db, cid).await?.is_none() {
        return Ok(());
    }
    Err(Error::new(
        Code::DeletingPersistentDiskError,
        format!("Deleting persistent disk is not supported: [\"{cid}\"]"),
    ))
}

pub(super) async fn delete_orphan_disk(request: Request, Path(cid): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    check_is_orphan(&request, &cid).await?;
    let job = jobs::delete_orphan_disks::DeleteOrphanDisks {
        disk_cids: vec![cid],
    };
    reply::enqueue(
        &request,
        Work::DeleteOrphanDisks(job),
        None,
        "delete orphan disks",
    )
    .await
}

pub(super) async fn attach_disk(request: Request, Path(cid): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    let param = |name: &str| request.param(name).unwrap_or_default().to_owned();
    let deployment = request
        .deployment(&param("deployment"), Permission::Admin)
        .await?;
    let (group, instance) = (param("job"), param("instance_id"));
    let description = format!("attach disk '{cid}' to '{group}/{instance}'");
    let work = Work::AttachDisk(jobs::attach_disk::AttachDisk {
        deployment: deployment.name.clone(),
        group,
        instance,
        disk_cid: cid,
        disk_properties: param("disk_properties"),
    });
    reply::enqueue(&request, work, Some(&deployment.name), description).await
}

pub(super) async fn orphaned_vms(request: Request) -> Result {
    request.require(Permission::Admin)?;
    let db = &request.director.db;
    let vms = db::vms::orphans(db).await?;
    let addresses = if vms.is_empty() {
        Vec::new()
    } else {
        db::ip_addresses::list(db).await?
    };
    let vms: Vec<OrphanedVm> = vms
        .into_iter()
        .map(|vm| OrphanedVm {
            ip_addresses: addresses
                .iter()
                .filter(|address| address.orphaned_vm_id == Some(vm.id))
                .map(|address| address.address().to_owned())
                .collect(),
            az: vm.availability_zone,
            cid: vm.cid,
            deployment_name: vm.deployment_name,
            instance_name: vm.instance_name,
            orphaned_at: vm.orphaned_at.to_ruby(),
        })
        .collect();
    Ok(reply::json(&vms))
}

pub(super) async fn delete_vm(request: Request, Path(cid): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    let description = format!("delete vm {cid}");
    let work = Work::DeleteVm(jobs::delete_vm::DeleteVm { cid });
    reply::enqueue(&request, work, None, description).await
}

pub(super) async fn clean_up(request: Request, body: Bytes) -> Result {
    request.require(Permission::Admin)?;
    let wanted: Cleanup = request.json(&body)?;
    let all = wanted.config.remove_all;
    let work = Work::CleanupArtifacts(jobs::cleanup_artifacts::CleanupArtifacts {
        remove_all: wanted.config.remove_all,
        keep_orphaned_disks: wanted.config.keep_orphaned_disks,
    });
    reply::enqueue(
        &request,
        work,
        None,
        if all { "clean up all" } else { "clean up" },
    )
    .await
}

pub(super) async fn clean_up_dry_run(request: Request) -> Result {
    request.require(Permission::Admin)?;
    let job = jobs::cleanup_artifacts::CleanupArtifacts {
        remove_all: request.flag("remove_all"),
        keep_orphaned_disks: request.flag("keep_orphaned_disks"),
    };
    Ok(reply::json(&job.preview(&request.director.db).await?))
}

pub(super) async fn resource(request: Request, Path(id): Path<String>) -> Result {
    request.require(Permission::Admin)?;
    let blob = request.director.blobstore.open_unverified(&id).await;
    let blob = blob.map_err(|error| reply::blob_error(&id, &error))?;
    Ok(reply::blob(blob, "application/x-gzip"))
}

pub(super) async fn deployed_variable(request: Request, Path(name): Path<String>) -> Result {
    request.require(Permission::ReadOwn)?;
    let db = &request.director.db;
    let users = db::variables::deployments_using(db, &name).await?;
    let deployments: Vec<_> = users
        .into_iter()
        .map(|(deployment, version)| json!({ "name": deployment, "version": version }))
        .collect();
    Ok(reply::json(&json!({ "deployments": deployments })))
}
