//! Deletes an instance: processes, VMs, then what is left of it. Its disks become orphans. Upstream: instance_deleter.rb.

use super::{delete_vm, disks, orphan_vm, stop, templates};
use crate::db;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::State;

/// Deletes `subject` for good. With `force`, goes on when something of it cannot be deleted.
pub async fn run(
    scope: &Scope,
    subject: &mut Subject,
    intent: stop::Intent,
    force: bool,
) -> Result<(), Error> {
    let name = subject.name();
    let event = scope.instance_event("delete", "instance", Some(name.clone()), &name);
    let work = async {
        let stopped = stop::run(scope, subject, intent, State::Stopped, None).await;
        unless_forced(scope, force, stopped)?;
        if subject.swap && !subject.unresponsive && !subject.compilation {
            disks::detach_all(scope, subject).await?;
            let vms: Vec<_> = subject
                .vm
                .take()
                .into_iter()
                .chain(subject.inactive.drain(..))
                .collect();
            for vm in vms {
                orphan_vm::run(scope, subject, &vm).await?;
            }
        } else {
            delete_vm::all(scope, subject, force).await?;
        }
        if !subject.compilation {
            for disk in subject.disks.clone() {
                let orphaned = disks::orphan(scope, subject, &disk).await;
                unless_forced(scope, force, orphaned)?;
            }
            let cleaned = templates::clean_all(scope, subject.id).await;
            unless_forced(scope, force, cleaned)?;
        }
        let tx = scope.db().begin().await?;
        db::dns::delete_records(&tx, subject.id).await?;
        db::instances::delete(&tx, subject.id).await?;
        Ok::<_, Error>(tx.commit().await?)
    };
    scope.task.recorded(event, work).await
}

fn unless_forced(scope: &Scope, force: bool, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if force => {
            scope
                .task
                .debug(format!("force deleting is set, ignoring: {error}"));
            Ok(())
        }
        other => other,
    }
}
