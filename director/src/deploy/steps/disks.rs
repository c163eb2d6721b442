//! Persistent disks of an instance: attach, mount, unmount, detach, orphan.
//!
//! Upstream: deployment_plan/steps/{attach,detach,mount,unmount}_disk_step.rb, orphan_disk_manager.rb.

use bosh_director_api::Code;

use super::metadata;
use crate::db;
use crate::db::disks::Disk;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// Attaches `disk` to the VM of `subject` and tells the agent how to find it. Nothing to do without a VM.
pub async fn attach(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<(), Error> {
    let Some(vm) = &subject.vm else { return Ok(()) };
    let cpi = scope.cpi(
        disk_cpi(subject, disk),
        crate::deploy::scope::api_version(vm),
    )?;
    let cid = vm.cid.as_deref().unwrap_or_default();
    match cpi.attach_disk(cid, &disk.disk_cid, scope.log()).await {
        Ok(hint) => {
            let agent = subject.agent(scope)?;
            agent
                .wait_until_ready(scope.director.config.agent_wait_timeout, cid)
                .await?;
            agent.add_persistent_disk(&disk.disk_cid, &hint).await?;
        }
        // Of a CPI that speaks version 1 and sends the hint through a registry.
        Err(bosh_cpi::Error::NoDiskHint) if cpi.api_version(scope.log()).await? < 2 => {}
        Err(error) => return Err(error.into()),
    }
    metadata::of_disk(scope, subject, disk).await
}

/// Attaches and, when it is the agent's to mount, mounts `disk`; on failure to mount, takes it away again.
pub async fn attach_and_mount(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<(), Error> {
    attach(scope, subject, disk).await?;
    if !disk.is_managed() {
        return Ok(());
    }
    if let Err(error) = mount(scope, subject, disk).await {
        scope
            .task
            .debug(format!("failed to mount disk, taking it away: {error}"));
        unmount_and_detach(scope, subject, disk).await?;
        return Err(error);
    }
    Ok(())
}

/// Has the agent mount `disk`.
pub async fn mount(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<(), Error> {
    Ok(subject.agent(scope)?.mount_disk(&disk.disk_cid).await?)
}

/// Attaches and mounts every active disk of `subject`.
pub async fn attach_all(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    for disk in subject.active_disks() {
        attach(scope, subject, disk).await?;
    }
    for disk in subject.active_disks().filter(|disk| disk.is_managed()) {
        mount(scope, subject, disk).await?;
    }
    Ok(())
}

/// Has the agent unmount `disk` if it has it mounted.
pub async fn unmount(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<(), Error> {
    let agent = subject.agent(scope)?;
    if agent.list_disk().await?.contains(&disk.disk_cid) {
        agent.unmount_disk(&disk.disk_cid).await?;
    }
    Ok(())
}

/// Detaches `disk` from the VM of `subject`. Nothing to do without a VM; one that is not attached is no error unless
/// it is active.
pub async fn detach(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<(), Error> {
    let Some(vm) = &subject.vm else { return Ok(()) };
    subject
        .agent(scope)?
        .remove_persistent_disk(&disk.disk_cid)
        .await?;
    let cpi = scope.cpi(
        disk_cpi(subject, disk),
        crate::deploy::scope::api_version(vm),
    )?;
    let cid = vm.cid.as_deref().unwrap_or_default();
    match cpi.detach_disk(cid, &disk.disk_cid, scope.log()).await {
        Err(error) if error.is_disk_not_attached() && !disk.is_active() => {
            scope.task.debug(error.to_string());
            Ok(())
        }
        Err(error) if error.is_disk_not_attached() => Err(Error::new(
            Code::CloudDiskNotAttached,
            format!(
                "'{}' VM should have persistent disk '{}' attached but it doesn't (according to CPI)",
                subject.display(),
                disk.disk_cid
            ),
        )),
        other => Ok(other?),
    }
}

/// Unmounts, if it is the agent's to mount, and detaches `disk`.
pub async fn unmount_and_detach(
    scope: &Scope,
    subject: &Subject,
    disk: &Disk,
) -> Result<(), Error> {
    if subject.vm.is_none() {
        return Ok(());
    }
    if disk.is_managed() {
        unmount(scope, subject, disk).await?;
    }
    detach(scope, subject, disk).await
}

/// Unmounts the active disks and detaches all of `subject`.
pub async fn detach_all(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    if subject.vm.is_none() {
        return Ok(());
    }
    for disk in subject.active_disks().filter(|disk| disk.is_managed()) {
        unmount(scope, subject, disk).await?;
    }
    for disk in &subject.disks {
        detach(scope, subject, disk).await?;
    }
    detach_dynamic(scope, subject).await
}

/// Detaches the disks that were attached apart from any deploy (upstream: steps/detach_dynamic_disk_step.rb).
async fn detach_dynamic(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    let Some(vm) = &subject.vm else { return Ok(()) };
    let cid = vm.cid.as_deref().unwrap_or_default();
    for disk in db::dynamic_disks::by_vm(scope.db(), vm.id).await? {
        let agent = subject.agent(scope)?;
        agent.remove_dynamic_disk(&disk.disk_cid).await?;
        let version = crate::deploy::scope::api_version(vm);
        let cpi = scope.cpi(disk.cpi.as_deref().unwrap_or_default(), version)?;
        match cpi.detach_disk(cid, &disk.disk_cid, scope.log()).await {
            Err(error) if error.is_disk_not_attached() => {
                let disk = &disk.disk_cid;
                return Err(Error::new(
                    Code::CloudDiskNotAttached,
                    format!(
                        "'{cid}' VM should have dynamic disk '{disk}' attached but it doesn't \
                         (according to CPI)"
                    ),
                ));
            }
            other => other?,
        }
        db::dynamic_disks::set_detached(scope.db(), disk.id).await?;
    }
    Ok(())
}

/// Makes `disk` an orphan, to be deleted or given back later.
pub async fn orphan(scope: &Scope, subject: &mut Subject, disk: &Disk) -> Result<(), Error> {
    let name = subject.name();
    let event = scope.instance_event("orphan", "disk", Some(disk.disk_cid.clone()), &name);
    scope
        .task
        .recorded(event, async {
            let tx = scope.db().begin().await?;
            db::disks::orphan(&tx, disk, subject.az.as_deref(), scope.name(), &name).await?;
            Ok::<_, Error>(tx.commit().await?)
        })
        .await?;
    subject.disks.retain(|other| other.id != disk.id);
    Ok(())
}

/// The CPI that has `disk`.
pub(crate) fn disk_cpi<'a>(subject: &'a Subject, disk: &'a Disk) -> &'a str {
    match disk.cpi.as_deref().unwrap_or_default() {
        "" => subject
            .vm
            .as_ref()
            .and_then(|vm| vm.cpi.as_deref())
            .unwrap_or_default(),
        cpi => cpi,
    }
}

/// [`detach_all`], unless the agent does not answer: the VM goes anyway, and takes the disks off with it.
pub async fn detach_all_if_reachable(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    if subject.unresponsive {
        return Ok(());
    }
    detach_all(scope, subject).await
}
