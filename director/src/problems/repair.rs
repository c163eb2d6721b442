//! The ways out of problems. Upstream: cloudcheck_helper.rb and the actions of problem_handlers/.

use std::time::Duration;

use super::subject::Subject;
use crate::db;
use crate::db::disks::Disk;
use crate::db::instances::{Changes, Instance};
use crate::db::vms::Vm;
use crate::deploy::blueprint::Blueprint;
use crate::deploy::load::Rows;
use crate::deploy::scope::Scope;
use crate::deploy::steps::{apply, delete_vm, disks, dns, metadata, templates, update_instance};
use crate::deploy::{Error, subjects};
use crate::tasks::Step;

/// How long an agent may take to show that it is there after all.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// A failure that concerns the problem alone: it is told, and the problem counts as seen to.
pub(super) enum Failure {
    /// As upstream's ProblemHandlerError.
    Handler(String),
    /// Anything else.
    Other(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Handler(message) => f.write_str(message),
            Self::Other(error) => error.fmt(f),
        }
    }
}

fn handler(message: impl Into<String>) -> Failure {
    Failure::Handler(message.into())
}

/// Does what `way` says about `subject`; `blueprint` is there when a VM may have to be made.
pub(super) async fn run(
    scope: &Scope,
    blueprint: Option<&Blueprint>,
    subject: &Subject,
    way: &str,
    step: &mut Step,
) -> Result<(), Failure> {
    match (subject, way) {
        (_, "ignore" | "close") => Ok(()),
        (Subject::Vm { instance, vm }, _) => {
            of_vm(scope, blueprint, instance, vm.as_ref(), way, step).await
        }
        (Subject::Disk { disk, instance, vm }, _) => {
            of_disk(scope, instance, disk, vm.as_ref(), way).await
        }
        (Subject::Invalid { .. }, _) => Err(handler(format!("Cannot find '{way}' resolution"))),
    }
}

async fn of_vm(
    scope: &Scope,
    blueprint: Option<&Blueprint>,
    instance: &Instance,
    vm: Option<&Vm>,
    way: &str,
    step: &mut Step,
) -> Result<(), Failure> {
    if let Some(vm) = vm
        && let agent = scope.agent(vm, &instance.name())?
        && let Some(Ok(())) = scope.unless_gone(vm, agent.ping(SIGN_OF_LIFE)).await
    {
        return Err(handler("Agent is responding now, skipping resolution"));
    }
    match way {
        "reboot_vm" => reboot(scope, instance, vm).await,
        "recreate_vm" => recreate(scope, blueprint, instance, true, step).await,
        "recreate_vm_without_wait" => recreate(scope, blueprint, instance, false, step).await,
        "delete_vm" => {
            let rows = Rows::of(scope).await?;
            let mut subject = subjects::of_row(instance, &rows, true, true);
            Ok(delete_vm::all(scope, &mut subject, false).await?)
        }
        "delete_vm_reference" => match vm {
            Some(vm) => Ok(delete_vm::forget(scope, vm).await?),
            None => Ok(()),
        },
        other => Err(handler(format!("Cannot find '{other}' resolution"))),
    }
}

async fn reboot(scope: &Scope, instance: &Instance, vm: Option<&Vm>) -> Result<(), Failure> {
    let Some(vm) = vm else {
        return Err(handler("there is no VM to reboot"));
    };
    let cid = vm.cid.as_deref().unwrap_or_default();
    scope.cpi_of(vm)?.reboot_vm(cid, scope.log()).await?;
    let agent = scope.agent(vm, &instance.name())?;
    match agent
        .wait_until_ready(scope.director.config.agent_wait_timeout, cid)
        .await
    {
        Err(error) if error.is_timeout() => Err(handler("Agent still unresponsive after reboot")),
        Err(crate::agents::Error::Cancelled(_)) => Err(handler("Task was cancelled")),
        other => Ok(other?),
    }
}

/// A new VM for the instance, with its disks, running what it ran.
async fn recreate(
    scope: &Scope,
    blueprint: Option<&Blueprint>,
    instance: &Instance,
    wait: bool,
    step: &mut Step,
) -> Result<(), Failure> {
    let Some(blueprint) = blueprint else {
        return Err(handler("the deployment was never deployed"));
    };
    let mut subject = blueprint.subject(scope, instance).await?;
    subject.unresponsive = true;
    delete_vm::all(scope, &mut subject, false).await?;
    update_instance::make_vm(scope, blueprint.renderer(), &mut subject).await?;
    if dns::write(scope, &[&subject]).await? {
        crate::deploy::dns::publish(scope).await?;
    }
    completed(scope, &subject, false).await?;
    templates::persist(scope, &mut subject).await?;
    apply::run(scope, &mut subject, false, wait, step).await?;
    Ok(completed(scope, &subject, true).await?)
}

async fn completed(
    scope: &Scope,
    subject: &crate::deploy::subject::Subject,
    completed: bool,
) -> Result<(), Error> {
    let changes = Changes {
        update_completed: Some(completed),
        ..Changes::default()
    };
    Ok(db::instances::update(scope.db(), subject.id, changes).await?)
}

async fn of_disk(
    scope: &Scope,
    instance: &Instance,
    disk: &Disk,
    vm: Option<&Vm>,
    way: &str,
) -> Result<(), Failure> {
    let rows = Rows::of(scope).await?;
    let mut subject = subjects::of_row(instance, &rows, true, false);
    match way {
        "delete_disk_reference" => {
            db::disks::set_active(scope.db(), disk.id, false).await?;
            let disk = Disk {
                active: Some(false),
                ..disk.clone()
            };
            if let Some(vm) = vm
                && scope
                    .cpi_of(vm)?
                    .has_vm(vm.cid.as_deref().unwrap_or_default(), scope.log())
                    .await?
            {
                take_off(scope, &subject, &disk).await?;
            }
            Ok(disks::orphan(scope, &mut subject, &disk).await?)
        }
        "delete_disk" => {
            if mounted(scope, &subject, disk).await? {
                return Err(handler("Disk is currently in use"));
            }
            if let Some(vm) = vm {
                let cid = vm.cid.as_deref().unwrap_or_default();
                // It is going to be orphaned anyway, and nobody uses it.
                if let Err(error) = scope
                    .cpi_of(vm)?
                    .detach_disk(cid, &disk.disk_cid, scope.log())
                    .await
                {
                    scope
                        .task
                        .debug(format!("detach disk '{}': {error}", disk.disk_cid));
                }
            }
            Ok(disks::orphan(scope, &mut subject, disk).await?)
        }
        "activate_disk" => {
            if !mounted(scope, &subject, disk).await? {
                return Err(handler("Disk is not mounted"));
            }
            if subject.managed_disk().is_some() {
                return Err(handler("Instance already has an active disk"));
            }
            Ok(db::disks::set_active(scope.db(), disk.id, true).await?)
        }
        "reattach_disk" => reattach(scope, &subject, disk).await,
        "reattach_disk_and_reboot" => {
            reattach(scope, &subject, disk).await?;
            reboot(scope, instance, vm).await
        }
        other => Err(handler(format!("Cannot find '{other}' resolution"))),
    }
}

async fn reattach(
    scope: &Scope,
    subject: &crate::deploy::subject::Subject,
    disk: &Disk,
) -> Result<(), Failure> {
    let vm = subject.vm()?;
    let cid = vm.cid.as_deref().unwrap_or_default();
    let hint = scope
        .cpi_of(vm)?
        .attach_disk(cid, &disk.disk_cid, scope.log())
        .await?;
    metadata::of_disk(scope, subject, disk).await?;
    let agent = subject.agent(scope)?;
    let told = async {
        agent.add_persistent_disk(&disk.disk_cid, &hint).await?;
        agent.mount_disk(&disk.disk_cid).await
    };
    match told.await {
        Err(error) if error.is_timeout() => Err(handler(format!("VM '{cid}' is not responding"))),
        other => Ok(other?),
    }
}

async fn mounted(
    scope: &Scope,
    subject: &crate::deploy::subject::Subject,
    disk: &Disk,
) -> Result<bool, Failure> {
    let Some(vm) = &subject.vm else {
        return Ok(false);
    };
    match subject.agent(scope)?.list_disk().await {
        Err(error) if error.is_timeout() => Err(handler(format!(
            "VM '{}' is not responding",
            vm.cid.as_deref().unwrap_or_default()
        ))),
        other => Ok(other?.contains(&disk.disk_cid)),
    }
}

/// Unmounts and detaches a disk that may not even exist.
async fn take_off(
    scope: &Scope,
    subject: &crate::deploy::subject::Subject,
    disk: &Disk,
) -> Result<(), Failure> {
    match disks::unmount(scope, subject, disk).await {
        Ok(()) => {}
        // It may be the missing disk that keeps the agent from answering.
        Err(error) if error.code() == 450_002 => scope
            .task
            .debug("Agent is not responding, skipping unmount"),
        Err(error) if error.code() == 450_001 => {
            return Err(handler(format!("Cannot unmount disk, {error}")));
        }
        Err(error) => return Err(error.into()),
    }
    let vm = subject.vm()?;
    let cid = vm.cid.as_deref().unwrap_or_default();
    match scope
        .cpi_of(vm)?
        .detach_disk(cid, &disk.disk_cid, scope.log())
        .await
    {
        Err(error) if error.is_disk_not_attached() || error.is_disk_not_found() => Ok(()),
        other => Ok(other?),
    }
}
