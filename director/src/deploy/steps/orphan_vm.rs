//! Lets a VM go without waiting for its end: it is told to shut down and deleted later.
//! Upstream: deployment_plan/steps/orphan_vm_step.rb.

use crate::db;
use crate::db::vms::Vm;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// Orphans `vm` of `subject`; its addresses stay taken until it is deleted.
pub async fn run(scope: &Scope, subject: &Subject, vm: &Vm) -> Result<(), Error> {
    let name = subject.name();
    scope.agent(vm, &name)?.shutdown().await;
    let event = scope.instance_event("orphan", "vm", vm.cid.clone(), &name);
    scope
        .task
        .recorded(event, async {
            let tx = scope.db().begin().await?;
            db::vms::orphan(&tx, vm, subject.az.as_deref(), scope.name(), &name).await?;
            Ok::<_, Error>(tx.commit().await?)
        })
        .await
}
