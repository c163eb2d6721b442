//! Makes one instance what it should be. Upstream: instance_updater/{update_procedure,recreate_handler}.rb.
//!
//! `instances.update_completed` is false while this runs: a deploy that finds it so does everything again, whatever
//! else has changed or not.

use serde_json::{Map, Value, json};

use super::{
    apply, create_vm, delete_vm, disks, dns, metadata, orphan_vm, prepare, settings, snapshot,
    stop, templates,
};
use crate::db;
use crate::db::instances::Changes;
use crate::deploy::Error;
use crate::deploy::plan::decision::{Action, Change};
use crate::deploy::render::Renderer;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::manifest::State;
use crate::tasks::Step;

/// Updates `subject`, records events around it, and notes whether it came to its end.
pub async fn run(
    scope: &Scope,
    renderer: &Renderer,
    subject: &mut Subject,
    canary: bool,
    step: &mut Step,
) -> Result<(), Error> {
    let name = subject.name();
    let mut event = scope.instance_event(subject.verb, "instance", Some(name.clone()), &name);
    event.context = Some(context(subject));
    scope.task.debug(format!(
        "Updating instance {}, changes: {:?}",
        subject.display(),
        subject.changes
    ));
    let work = async {
        let begun = Changes {
            update_completed: Some(false),
            variable_set_id: Some(subject.variable_set),
            ..Changes::default()
        };
        db::instances::update(scope.db(), subject.id, begun).await?;
        procedure(scope, renderer, subject, canary, step).await?;
        let ended = Changes {
            update_completed: Some(true),
            ..Changes::default()
        };
        Ok(db::instances::update(scope.db(), subject.id, ended).await?)
    };
    scope.task.recorded(event, work).await
}

async fn procedure(
    scope: &Scope,
    renderer: &Renderer,
    subject: &mut Subject,
    canary: bool,
    step: &mut Step,
) -> Result<(), Error> {
    if subject.action == Action::Metadata {
        tag(scope, subject).await?;
        return names(scope, subject).await;
    }
    let takes_over = subject.swap && !subject.inactive.is_empty();
    let recreate = subject.action == Action::Recreate || takes_over;
    if subject.was != "detached" {
        take_down(scope, subject, recreate, step).await?;
        if subject.state == State::Stopped && subject.was != "detached" {
            return settle(scope, subject).await;
        }
        if subject.state == State::Detached {
            disks::detach_all_if_reachable(scope, subject).await?;
            delete_vm::all(scope, subject, false).await?;
        }
    }
    if subject.state != State::Detached {
        converge(scope, renderer, subject, recreate, takes_over).await?;
    }
    settle(scope, subject).await?;
    names(scope, subject).await?;
    if subject.state == State::Detached {
        return Ok(());
    }
    if !recreate && !subject.fresh && subject.has(Change::Tags) {
        tag(scope, subject).await?;
    }
    templates::persist(scope, subject).await?;
    apply::run(scope, subject, canary, true, step).await
}

/// Fetches what can be fetched ahead, then stops what runs.
async fn take_down(
    scope: &Scope,
    subject: &mut Subject,
    recreate: bool,
    step: &mut Step,
) -> Result<(), Error> {
    if !recreate && !subject.fresh && subject.state != State::Detached && subject.vm.is_some() {
        templates::persist(scope, subject).await?;
        prepare::run(scope, subject).await?;
    }
    if subject.was == "stopped" {
        return Ok(());
    }
    let gone = recreate || subject.state == State::Detached;
    let intent = if gone {
        stop::Intent::DeleteVm
    } else {
        stop::Intent::KeepVm
    };
    stop::run(scope, subject, intent, subject.state, Some(step)).await?;
    if !subject.fresh {
        snapshot::take(scope, subject, true).await?;
    }
    Ok(())
}

/// Its VM and its disks.
async fn converge(
    scope: &Scope,
    renderer: &Renderer,
    subject: &mut Subject,
    recreate: bool,
    takes_over: bool,
) -> Result<(), Error> {
    if takes_over {
        swap(scope, subject).await?;
    } else if recreate || subject.vm.is_none() {
        if subject.vm.is_some() {
            disks::detach_all_if_reachable(scope, subject).await?;
            delete_vm::all(scope, subject, false).await?;
        }
        make_vm(scope, renderer, subject).await?;
    }
    super::update_disks::run(scope, subject).await?;
    settings::run(scope, subject).await
}

/// A VM for `subject`, with its disks, told all it has to know.
pub async fn make_vm(
    scope: &Scope,
    renderer: &Renderer,
    subject: &mut Subject,
) -> Result<(), Error> {
    let first = subject.vm.is_none();
    let vm = create_vm::run(scope, subject).await?;
    if first {
        disks::attach_all(scope, subject).await?;
        settings::run(scope, subject).await?;
        let before = subject.networks();
        apply::vm_spec(scope, subject).await?;
        if subject.networks() != before {
            renderer.again(scope, subject).await?;
        }
    } else {
        let vm = settings::of_vm(scope, subject, &vm).await?;
        if let Some(last) = subject.inactive.last_mut() {
            *last = vm;
        }
    }
    Ok(())
}

/// The VM that waits becomes the instance's own; the one before becomes an orphan.
async fn swap(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    disks::detach_all_if_reachable(scope, subject).await?;
    let Some(new) = subject.inactive.pop() else {
        return Err(Error::other(format!(
            "'{}' has no VM to take over",
            subject.display()
        )));
    };
    db::vms::set_active(scope.db(), subject.id, Some(new.id)).await?;
    let old: Vec<_> = subject
        .vm
        .replace(new)
        .into_iter()
        .chain(subject.inactive.drain(..))
        .collect();
    for vm in old {
        orphan_vm::run(scope, subject, &vm).await?;
    }
    disks::attach_all(scope, subject).await
}

/// Gives up addresses that it no longer has and writes its state down.
async fn settle(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    let tx = scope.db().begin().await?;
    for ip in &subject.obsolete_ips {
        db::ip_addresses::release(&tx, subject.id, ip).await?;
    }
    let changes = Changes {
        state: Some(subject.state_word().into()),
        ..Changes::default()
    };
    db::instances::update(&tx, subject.id, changes).await?;
    tx.commit().await?;
    subject.obsolete_ips.clear();
    Ok(())
}

async fn names(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    if dns::write(scope, &[subject]).await? {
        crate::deploy::dns::publish_to(scope, subject).await?;
    }
    Ok(())
}

async fn tag(scope: &Scope, subject: &Subject) -> Result<(), Error> {
    let Some(vm) = &subject.vm else { return Ok(()) };
    for disk in subject.active_disks().filter(|disk| disk.is_managed()) {
        metadata::of_disk(scope, subject, disk).await?;
    }
    metadata::of_vm(scope, subject, vm, &Map::new()).await
}

/// What an event says beside the action.
fn context(subject: &Subject) -> Value {
    let mut context = Map::new();
    if subject.changes.len() == 1 && (subject.has(Change::State) || subject.has(Change::Restart)) {
        return Value::Object(context);
    }
    if let Some(az) = &subject.az {
        context.insert("az".into(), json!(az));
    }
    if subject.verb != "create" && subject.changes != [Change::Recreate] {
        context.insert("changes".into(), json!(subject.changes));
    }
    Value::Object(context)
}
