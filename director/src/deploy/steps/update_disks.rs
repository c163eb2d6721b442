//! Makes the disks of an instance those it should have: new ones made, data moved, old ones orphaned.
//!
//! A new disk is written down, inactive, as soon as the CPI made it; it becomes the active one in one transaction when
//! the data has been moved. Whatever is inactive at the end becomes an orphan, also what an earlier, broken deploy left.
//! Upstream: disk_manager.rb.

use bosh_director_api::Code;
use serde_json::{Map, Value};

use super::create_vm::filled;
use super::disks;
use crate::db;
use crate::db::disks::{Disk as Row, NewDisk};
use crate::db::events::NewEvent;
use crate::deploy::Error;
use crate::deploy::plan::decision::{Change, DiskChange};
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::resolved::Disk;

/// Brings the disks of `subject`, whose VM is up and whose processes are down, to what they should be.
pub async fn run(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    sync(scope, subject).await?;
    let changes = std::mem::take(&mut subject.disk_changes);
    for change in &changes {
        match change {
            DiskChange::Create { name, size } => {
                let desired = desired(subject, name, *size);
                replace(scope, subject, Some(&desired), None).await?;
            }
            DiskChange::Resize { id, size } => {
                let Some(old) = find(subject, *id) else {
                    continue;
                };
                let desired = desired(subject, old.name.as_deref().unwrap_or_default(), *size);
                if !in_place(scope, subject, &desired, &old).await? {
                    replace(scope, subject, Some(&desired), Some(&old)).await?;
                }
            }
            DiskChange::Migrate { id, size } => {
                let Some(old) = find(subject, *id) else {
                    continue;
                };
                let desired = desired(subject, old.name.as_deref().unwrap_or_default(), *size);
                if !changed_by_cpi(scope, subject, &desired, &old).await? {
                    replace(scope, subject, Some(&desired), Some(&old)).await?;
                }
            }
            DiskChange::Delete { id } => {
                let Some(old) = find(subject, *id) else {
                    continue;
                };
                replace(scope, subject, None, Some(&old)).await?;
            }
        }
    }
    if subject.has(Change::PersistentDisk)
        || subject.has(Change::RecreatePersistentDisks)
        || !changes.is_empty()
    {
        let inactive: Vec<Row> = subject
            .disks
            .iter()
            .filter(|disk| !disk.is_active())
            .cloned()
            .collect();
        for disk in inactive {
            disks::unmount_and_detach(scope, subject, &disk).await?;
            disks::orphan(scope, subject, &disk).await?;
        }
    }
    Ok(())
}

/// Checks that the agent has the disk mounted that the director thinks it has; attaches it when it has none.
///
/// One of the instance's own that is not the active one was left by a deploy that was killed half-way: it goes.
async fn sync(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    let unmanaged = subject
        .desired_disks
        .iter()
        .any(|disk| !disk.name.is_empty());
    if unmanaged || subject.disks.is_empty() || subject.vm.is_none() {
        return Ok(());
    }
    let mut mounted = subject.agent(scope)?.list_disk().await?;
    let left: Vec<Row> = subject
        .disks
        .iter()
        .filter(|disk| !disk.is_active() && mounted.contains(&disk.disk_cid))
        .cloned()
        .collect();
    for disk in left {
        scope.task.debug(format!(
            "Agent of '{}' reports disk '{}', which a deploy that did not end left there. Detaching it...",
            subject.display(),
            disk.disk_cid
        ));
        disks::unmount_and_detach(scope, subject, &disk).await?;
        disks::orphan(scope, subject, &disk).await?;
        mounted.retain(|cid| *cid != disk.disk_cid);
    }
    let known = subject.managed_disk().map(|disk| disk.disk_cid.as_str());
    let mounted = mounted.first().map(String::as_str);
    if mounted == known || (mounted.is_none() && subject.desired_disks.is_empty()) {
        return Ok(());
    }
    match mounted {
        None => {
            scope.task.debug(format!(
                "Agent of '{}' reports no disk while director record shows '{}'. Re-attaching existing persistent disk...",
                subject.display(),
                known.unwrap_or_default()
            ));
            for disk in subject.active_disks() {
                disks::attach_and_mount(scope, subject, disk).await?;
            }
            Ok(())
        }
        Some(mounted) => Err(Error::new(
            Code::AgentDiskOutOfSync,
            format!(
                "'{}' has invalid disks: agent reports '{mounted}' while director record shows '{}'",
                subject.display(),
                known.unwrap_or_default()
            ),
        )),
    }
}

/// A new disk in place of an old one, either of which may be none.
async fn replace(
    scope: &Scope,
    subject: &mut Subject,
    new: Option<&Disk>,
    old: Option<&Row>,
) -> Result<(), Error> {
    let mut made = None;
    if let Some(new) = new {
        let row = create(scope, subject, new).await?;
        disks::attach_and_mount(scope, subject, &row).await?;
        if let Some(old) = old.filter(|old| old.is_managed() && row.is_managed()) {
            let moved = subject
                .agent(scope)?
                .migrate_disk(&old.disk_cid, &row.disk_cid)
                .await;
            if let Err(error) = moved {
                scope.task.debug(format!(
                    "failed to migrate disk, giving the new one up: {error}"
                ));
                disks::unmount_and_detach(scope, subject, &row).await?;
                disks::orphan(scope, subject, &row).await?;
                return Err(error.into());
            }
        }
        made = Some(row);
    }
    let tx = scope.db().begin().await?;
    if let Some(old) = old {
        db::disks::set_active(&tx, old.id, false).await?;
    }
    if let Some(made) = &made {
        db::disks::set_active(&tx, made.id, true).await?;
    }
    tx.commit().await?;
    for disk in &mut subject.disks {
        if made.as_ref().is_some_and(|made| made.id == disk.id) {
            disk.active = Some(true);
        } else if old.is_some_and(|old| old.id == disk.id) {
            disk.active = Some(false);
        }
    }
    if let Some(old) = old {
        let old = Row {
            active: Some(false),
            ..old.clone()
        };
        disks::unmount_and_detach(scope, subject, &old).await?;
        disks::orphan(scope, subject, &old).await?;
    }
    Ok(())
}

async fn create(scope: &Scope, subject: &mut Subject, disk: &Disk) -> Result<Row, Error> {
    let name = subject.name();
    let event = scope.instance_event("create", "disk", None, &name);
    let parent_id = scope.task.event(event.clone()).await?;
    let made = made(scope, subject, disk).await;
    scope
        .task
        .event(NewEvent {
            parent_id,
            object_name: made.as_ref().ok().map(|row| row.disk_cid.clone()),
            error: made.as_ref().err().map(ToString::to_string),
            ..event
        })
        .await?;
    let made = made?;
    subject.disks.push(made.clone());
    Ok(made)
}

async fn made(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<Row, Error> {
    let vm = subject.vm()?;
    let cpi_name = vm.cpi.clone().unwrap_or_default();
    let cpi = scope.cpi(&cpi_name, None)?;
    let properties = filled(&disk.cloud_properties, &subject.values)?;
    let created = cpi
        .create_disk(disk.size, properties, vm.cid.as_deref(), scope.log())
        .await?;
    let cid = created.disk_cid;
    let new = NewDisk {
        instance_id: subject.id,
        disk_cid: cid.clone(),
        size: size(disk.size),
        active: false,
        cloud_properties: Value::Object(disk.cloud_properties.clone()),
        name: disk.name.clone(),
        cpi: cpi_name,
    };
    match db::disks::create(scope.db(), new).await {
        Ok(row) => {
            created.receipt.settle();
            Ok(row)
        }
        Err(error) => {
            // Nobody would ever know of it.
            match cpi.delete_disk(&cid, scope.log()).await {
                Ok(()) => created.receipt.settle(),
                Err(second) => {
                    tracing::error!(disk = cid, error = %second, "disk that could not be recorded is still there");
                }
            }
            Err(error.into())
        }
    }
}

/// Grows `old` with `resize_disk` if only its size differs, the director may and the CPI can; whether it did.
async fn in_place(
    scope: &Scope,
    subject: &mut Subject,
    new: &Disk,
    old: &Row,
) -> Result<bool, Error> {
    if !scope.director.config.enable_cpi_resize_disk {
        return changed_by_cpi(scope, subject, new, old).await;
    }
    disks::unmount_and_detach(scope, subject, old).await?;
    let cpi = scope.cpi(disks::disk_cpi(subject, old), None)?;
    let resized = match cpi.resize_disk(&old.disk_cid, new.size, scope.log()).await {
        Ok(()) => true,
        Err(error) if error.is_not_implemented() || error.is_not_supported() => {
            scope.task.debug(format!(
                "disk {} is copied, for it cannot be resized: {error}",
                old.disk_cid
            ));
            false
        }
        Err(error) => return Err(error.into()),
    };
    disks::attach_and_mount(scope, subject, old).await?;
    if resized {
        let properties = old.cloud_properties();
        db::disks::set_size(scope.db(), old.id, size(new.size), &properties).await?;
    }
    Ok(resized)
}

/// Changes `old` with `update_disk` if the director may and the CPI can; whether it did.
async fn changed_by_cpi(
    scope: &Scope,
    subject: &mut Subject,
    new: &Disk,
    old: &Row,
) -> Result<bool, Error> {
    let config = &scope.director.config;
    if !config.enable_cpi_update_disk || !old.is_managed() || !new.name.is_empty() {
        return Ok(false);
    }
    disks::unmount_and_detach(scope, subject, old).await?;
    let cpi = scope.cpi(disks::disk_cpi(subject, old), None)?;
    let properties = filled(&new.cloud_properties, &subject.values)?;
    let cid = match cpi
        .update_disk(&old.disk_cid, new.size, properties, scope.log())
        .await
    {
        Ok(cid) => cid.unwrap_or_else(|| old.disk_cid.clone()),
        Err(error) if error.is_not_implemented() || error.is_not_supported() => {
            scope.task.debug(format!(
                "disk {} is copied, for it cannot be updated: {error}",
                old.disk_cid
            ));
            disks::attach_and_mount(scope, subject, old).await?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    // Before it is attached: the CPI may have made another disk of it.
    let properties = Value::Object(new.cloud_properties.clone());
    let tx = scope.db().begin().await?;
    db::disks::set_size(&tx, old.id, size(new.size), &properties).await?;
    if cid != old.disk_cid {
        db::disks::set_cid(&tx, old.id, &cid).await?;
    }
    tx.commit().await?;
    let row = Row {
        disk_cid: cid,
        size: Some(size(new.size)),
        cloud_properties_json: Some(properties.to_string()),
        ..old.clone()
    };
    for disk in &mut subject.disks {
        if disk.id == row.id {
            *disk = row.clone();
        }
    }
    disks::attach_and_mount(scope, subject, &row).await?;
    Ok(true)
}

fn find(subject: &Subject, id: i64) -> Option<Row> {
    subject
        .disks
        .iter()
        .find(|disk| i64::from(disk.id.0) == id)
        .cloned()
}

fn desired(subject: &Subject, name: &str, size: u64) -> Disk {
    let found = subject
        .desired_disks
        .iter()
        .find(|disk| disk.name == name)
        .cloned();
    found.unwrap_or_else(|| Disk {
        name: name.to_owned(),
        size,
        cloud_properties: Map::new(),
        disk_type: String::new(),
    })
}

fn size(mebibytes: u64) -> i32 {
    i32::try_from(mebibytes).unwrap_or(i32::MAX)
}
