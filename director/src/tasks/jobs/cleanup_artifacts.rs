//! Deletes what nothing uses any more (upstream: cleanup_artifact_manager.rb).

mod pick;

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Director;
use crate::db::{self, Db};
use crate::release::delete as release;
use crate::stemcell::delete as stemcell;
use crate::tasks::{Context, Error, Stage};

/// How long to wait for whoever works on a release or an orphaned VM.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Deletes what nothing uses any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanupArtifacts {
    /// Everything unused, not only old versions.
    #[serde(default)]
    pub remove_all: bool,
    /// Keep orphaned disks (with `remove_all`).
    #[serde(default)]
    pub keep_orphaned_disks: bool,
}

impl CleanupArtifacts {
    /// What it would delete, as `GET /cleanup/dryrun` shows it.
    pub async fn preview(&self, db: &Db) -> Result<Value, Error> {
        let picked = self.pick(db).await?;
        let releases: Vec<Value> = picked
            .releases
            .iter()
            .map(|(name, versions)| json!({ "name": name, "versions": versions }))
            .collect();
        let stemcells: Vec<Value> = picked
            .stemcells
            .iter()
            .map(|stemcell| {
                json!({
                    "name": stemcell.name,
                    "operating_system": stemcell.operating_system,
                    "version": stemcell.version,
                    "cid": stemcell.cid,
                    "cpi": stemcell.cpi,
                    "deployments": [],
                    "api_version": stemcell.api_version,
                    "id": stemcell.id,
                })
            })
            .collect();
        let compiled: Vec<Value> = picked
            .compiled
            .iter()
            .map(|(name, compiled)| {
                json!({
                    "package_name": name,
                    "stemcell_os": compiled.stemcell_os,
                    "stemcell_version": compiled.stemcell_version,
                })
            })
            .collect();
        let disks: Vec<Value> = picked
            .disks
            .iter()
            .map(|disk| {
                json!({
                    "disk_cid": disk.disk_cid,
                    "size": disk.size,
                    "az": disk.availability_zone,
                    "deployment_name": disk.deployment_name,
                    "instance_name": disk.instance_name,
                    "cloud_properties": disk.cloud_properties(),
                    "orphaned_at": disk.created_at.to_ruby(),
                })
            })
            .collect();
        let vms: Vec<Value> = picked
            .vms
            .iter()
            .map(|vm| {
                json!({
                    "az": vm.availability_zone,
                    "cid": vm.cid,
                    "deployment_name": vm.deployment_name,
                    "instance_name": vm.instance_name,
                    "ip_addresses": [],
                    "orphaned_at": vm.orphaned_at.to_ruby(),
                })
            })
            .collect();
        let blobs = |blobs: &[db::misc::Blob]| -> Vec<String> {
            blobs.iter().map(|blob| blob.blobstore_id.clone()).collect()
        };
        Ok(json!({
            "releases": releases,
            "stemcells": stemcells,
            "compiled_packages": compiled,
            "orphaned_disks": disks,
            "orphaned_vms": vms,
            "exported_releases": blobs(&picked.exported),
            "dns_blobs": blobs(&picked.dns),
        }))
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let picked = self.pick(&director.db).await?;
        let vms = delete_vms(director, task, &picked.vms).await?;

        let count: usize = picked
            .releases
            .iter()
            .map(|(_, versions)| versions.len())
            .sum();
        let stage = task.stage("Deleting releases", Vec::new(), Some(count));
        for (name, versions) in &picked.releases {
            task.checkpoint()?;
            let lock = task
                .lock(&format!("lock:release:{name}"), LOCK_WAIT)
                .await?;
            for version in versions {
                let deleted = release::delete(director, task, name, Some(version), false);
                stage.run(format!("{name}/{version}"), deleted).await?;
            }
            lock.release().await;
        }

        let stage = task.stage(
            "Deleting stemcells",
            Vec::new(),
            Some(picked.stemcells.len()),
        );
        let mut seen = std::collections::BTreeSet::new();
        for found in &picked.stemcells {
            task.checkpoint()?;
            if seen.insert((&found.name, &found.version)) {
                let deleted = stemcell::delete(director, task, &found.name, &found.version, false);
                stage.run(found.desc(), deleted).await?;
            }
        }

        let compiled = self
            .delete_compiled(director, task, picked.compiled)
            .await?;
        let stage = task.stage(
            "Deleting orphaned disks",
            Vec::new(),
            Some(picked.disks.len()),
        );
        let disks = delete_disks(director, task, &stage, &picked.disks).await?;

        let stage = task.stage(
            "Deleting exported releases",
            Vec::new(),
            Some(picked.exported.len()),
        );
        for blob in &picked.exported {
            stage
                .run(blob.blobstore_id.clone(), delete_blob(director, blob))
                .await?;
        }
        let dns = async {
            for blob in &picked.dns {
                delete_blob(director, blob).await?;
            }
            Ok::<_, Error>(())
        };
        task.stage("Deleting dns blobs", Vec::new(), Some(1))
            .run("DNS blobs", dns)
            .await?;
        Ok(format!(
            "Deleted {count} release(s), {} stemcell(s), {compiled} extra compiled package(s), \
             {disks} orphaned disk(s), {vms} orphaned vm(s), {} exported release(s), \
             Deleted {} dns blob(s)",
            picked.stemcells.len(),
            picked.exported.len(),
            picked.dns.len()
        ))
    }

    async fn delete_compiled(
        &self,
        director: &Director,
        task: &Context,
        compiled: Vec<(String, db::packages::CompiledPackage)>,
    ) -> Result<usize, Error> {
        let mut left = Vec::new();
        for (name, compiled) in compiled {
            // Its release may be gone by now, and it with that.
            if !db::packages::compiled_for(&director.db, &[compiled.package_id])
                .await?
                .is_empty()
            {
                left.push((name, compiled));
            }
        }
        let stage = task.stage("Deleting compiled packages", Vec::new(), Some(left.len()));
        let count = left.len();
        for (name, compiled) in left {
            let desc = format!(
                "{name} for {}/{}",
                compiled.stemcell_os.unwrap_or_default(),
                compiled.stemcell_version.unwrap_or_default()
            );
            let deleted = async {
                db::packages::delete_compiled(&director.db, compiled.id).await?;
                release::delete_blobs(director, task, vec![compiled.blobstore_id], false).await
            };
            stage.run(desc, deleted).await?;
        }
        Ok(count)
    }
}

/// Deletes orphaned VMs; how many. One that fails is tried again next time.
pub(super) async fn delete_vms(
    director: &Director,
    task: &Context,
    vms: &[db::vms::OrphanedVm],
) -> Result<usize, Error> {
    let stage = task.stage("Deleting orphaned vms", Vec::new(), Some(vms.len()));
    let cpis = director.cpis().await?;
    let futures: Vec<_> = vms
        .iter()
        .map(|vm| {
            let (stage, cpis) = (&stage, &cpis);
            async move {
                stage
                    .run(vm.cid.clone(), delete_vm(director, task, cpis, vm))
                    .await
            }
        })
        .collect();
    let done: Vec<Result<(), Error>> = stream::iter(futures)
        .buffer_unordered(director.config.max_threads.max(1))
        .collect()
        .await;
    let mut count = 0;
    for deleted in done {
        match deleted {
            Ok(()) => count += 1,
            // The next clean-up tries again.
            Err(error) => task.debug(format!("orphaned vm stays: {}", error.chain())),
        }
    }
    Ok(count)
}

async fn delete_vm(
    director: &Director,
    task: &Context,
    cpis: &crate::cpi::Cpis,
    vm: &db::vms::OrphanedVm,
) -> Result<(), Error> {
    let lock = task
        .lock(&format!("lock:orphan_vm_cleanup:{}", vm.cid), LOCK_WAIT)
        .await?;
    let event = db::events::NewEvent {
        action: "delete".to_owned(),
        object_type: "vm".to_owned(),
        object_name: Some(vm.cid.clone()),
        deployment: vm.deployment_name.clone(),
        instance: vm.instance_name.clone(),
        ..db::events::NewEvent::default()
    };
    let deleted = task
        .recorded(event, async {
            let api = vm
                .stemcell_api_version
                .and_then(|version| u32::try_from(version).ok());
            let client = cpis.get(vm.cpi.as_deref().unwrap_or_default(), api)?;
            match client.delete_vm(&vm.cid, task).await {
                Err(error) if !error.is_vm_not_found() => Err(Error::from(error)),
                _ => Ok(db::vms::delete_orphan(&director.db, vm.id).await?),
            }
        })
        .await;
    lock.release().await;
    deleted
}

/// Deletes orphaned disks and their snapshots; how many.
pub(super) async fn delete_disks(
    director: &Director,
    task: &Context,
    stage: &Stage,
    disks: &[db::disks::OrphanDisk],
) -> Result<usize, Error> {
    let cpis = director.cpis().await?;
    let futures: Vec<_> = disks
        .iter()
        .map(|disk| {
            let cpis = &cpis;
            async move {
                task.checkpoint()?;
                stage
                    .run(
                        disk.disk_cid.clone(),
                        delete_disk(director, task, cpis, disk),
                    )
                    .await
            }
        })
        .collect();
    let done: Vec<Result<(), Error>> = stream::iter(futures)
        .buffer_unordered(director.config.max_threads.max(1))
        .collect()
        .await;
    let count = done.len();
    done.into_iter().collect::<Result<Vec<()>, Error>>()?;
    Ok(count)
}

pub(super) async fn delete_disk(
    director: &Director,
    task: &Context,
    cpis: &crate::cpi::Cpis,
    disk: &db::disks::OrphanDisk,
) -> Result<(), Error> {
    let db = &director.db;
    let client = cpis.get(disk.cpi.as_deref().unwrap_or_default(), None)?;
    let event = |kind: &str, name: &str| db::events::NewEvent {
        action: "delete".to_owned(),
        object_type: kind.to_owned(),
        object_name: Some(name.to_owned()),
        deployment: Some(disk.deployment_name.clone()),
        instance: Some(disk.instance_name.clone()),
        ..db::events::NewEvent::default()
    };
    for snapshot in db::disks::orphan_snapshots(db, disk.id).await? {
        let cid = &snapshot.snapshot_cid;
        let deleted = async {
            client.delete_snapshot(cid, task).await?;
            db::disks::delete_orphan_snapshot(db, snapshot.id).await?;
            Ok::<_, Error>(())
        };
        task.recorded(event("snapshot", cid), deleted).await?;
    }
    let deleted = async {
        match client.delete_disk(&disk.disk_cid, task).await {
            Err(error) if !error.is_disk_not_found() => Err(Error::from(error)),
            _ => Ok(db::disks::delete_orphan(db, disk.id).await?),
        }
    };
    task.recorded(event("disk", &disk.disk_cid), deleted).await
}

pub(super) async fn delete_blob(director: &Director, blob: &db::misc::Blob) -> Result<(), Error> {
    director.blobstore.delete(&blob.blobstore_id).await?;
    db::dns::forget_blob(&director.db, blob.id).await?;
    db::misc::delete_blob(&director.db, blob.id).await?;
    Ok(())
}
