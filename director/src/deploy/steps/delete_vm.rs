//! Deletes a VM and forgets it. Upstream: deployment_plan/steps/delete_vm_step.rb, vm_deleter.rb.

use bosh_protocol::AgentId;

use crate::db;
use crate::db::vms::Vm;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// Deletes `vm` of the instance `instance` (`group/uuid`). One that is gone already is no error; any other failure is
/// one unless `force`d.
pub async fn run(
    scope: &Scope,
    instance: &str,
    vm: &Vm,
    record: bool,
    force: bool,
) -> Result<(), Error> {
    let work = async {
        let deleted = from_cloud(scope, vm).await;
        if let Err(error) = deleted {
            if !force {
                return Err(error);
            }
            scope
                .task
                .debug(format!("force deleting is set, ignoring: {error}"));
        }
        forget(scope, vm).await
    };
    if record {
        let event = scope.instance_event("delete", "vm", vm.cid.clone(), instance);
        scope.task.recorded(event, work).await
    } else {
        work.await
    }
}

/// Deletes every VM that `subject` has.
pub async fn all(scope: &Scope, subject: &mut Subject, force: bool) -> Result<(), Error> {
    let name = subject.name();
    for vm in subject.vm.iter().chain(&subject.inactive) {
        run(scope, &name, vm, true, force).await?;
    }
    subject.vm = None;
    subject.inactive.clear();
    Ok(())
}

/// Has the CPI delete it.
pub async fn from_cloud(scope: &Scope, vm: &Vm) -> Result<(), Error> {
    let Some(cid) = vm
        .cid
        .as_deref()
        .filter(|_| !scope.director.config.enable_virtual_delete_vms)
    else {
        return Ok(());
    };
    match scope.cpi_of(vm)?.delete_vm(cid, scope.log()).await {
        Err(error) if error.is_vm_not_found() => {
            scope.task.debug(format!(
                "VM '{cid}' might have already been deleted from the cloud"
            ));
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Forgets a VM that is no more: its row, what its agent had, its right to connect.
pub async fn forget(scope: &Scope, vm: &Vm) -> Result<(), Error> {
    let tx = scope.db().begin().await?;
    db::vms::delete(&tx, vm.id).await?;
    if let Some(agent_id) = &vm.agent_id {
        db::dns::delete_agent_version(&tx, agent_id).await?;
    }
    tx.commit().await?;
    if let Some(agent_id) = &vm.agent_id {
        scope
            .director
            .nats_users
            .remove(&AgentId::from(agent_id.as_str()))
            .await;
    }
    Ok(())
}
