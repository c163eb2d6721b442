//! Makes a VM and waits for its agent.
//!
//! What the CPI made is written down before anything is waited for, so that a director that dies leaves no VM that
//! nobody knows. Upstream: deployment_plan/steps/create_vm_step.rb, vm_creator.rb.

use bosh_cpi::CreateVm;
use bosh_protocol::AgentId;
use serde_json::{Map, Value};

use super::{delete_vm, env, metadata};
use crate::db;
use crate::db::events::NewEvent;
use crate::db::vms::{NewVm, Vm};
use crate::deploy::Error;
use crate::deploy::plan::spec::Spec;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;
use crate::variables::Values;
use crate::variables::interpolate::{Rules, interpolate};

/// What is kept of a spec as soon as there is a VM, so that a later deploy can tell what the VM is.
/// Upstream: apply_vm_spec_step.rb.
const KEPT: [&str; 9] = [
    "networks",
    "deployment",
    "job",
    "index",
    "id",
    "stemcell",
    "vm_type",
    "env",
    "update",
];

/// Makes a VM for `subject`, which becomes its VM unless it has one, and waits until its agent answers.
///
/// A VM whose agent does not answer in time is deleted again, unless the director is told to keep such VMs.
pub async fn run(scope: &Scope, subject: &mut Subject) -> Result<Vm, Error> {
    let event = scope.instance_event("create", "vm", None, &subject.name());
    let parent_id = scope.task.event(event.clone()).await?;
    let made = make(scope, subject).await;
    scope
        .task
        .event(NewEvent {
            parent_id,
            object_name: made.as_ref().ok().and_then(|vm| vm.cid.clone()),
            error: made.as_ref().err().map(ToString::to_string),
            ..event
        })
        .await?;
    let vm = made?;
    if let Err(error) = reach(scope, subject, &vm).await {
        scope.task.debug(format!(
            "VM {} cannot be used: {error}",
            vm.cid.as_deref().unwrap_or_default()
        ));
        if scope.director.config.keep_unreachable_vms {
            scope.task.debug("keeping the VM for debugging");
        } else {
            delete_vm::run(&scope.uncancellable(), &subject.name(), &vm, true, false).await?;
            if subject.vm.as_ref().is_some_and(|own| own.id == vm.id) {
                subject.vm = None;
            }
        }
        return Err(error);
    }
    Ok(vm)
}

async fn make(scope: &Scope, subject: &mut Subject) -> Result<Vm, Error> {
    let config = &scope.director.config;
    let agent_id = AgentId::from(uuid::Uuid::new_v4().to_string());
    let given = filled(&subject.env, &subject.values)?;
    let call = CreateVm {
        agent_id: agent_id.to_string(),
        stemcell_cid: subject.stemcell.cid.clone(),
        cloud_properties: filled(&subject.cloud_properties, &subject.values)?,
        networks: filled(&subject.networks(), &subject.values)?,
        disk_cids: subject
            .active_disks()
            .map(|disk| disk.disk_cid.clone())
            .collect(),
        env: env::build(scope, subject, &agent_id, given)?,
    };
    let cpi = scope.cpi(&subject.cpi, subject.stemcell.api_version)?;
    scope.director.nats_users.admit(&agent_id).await;
    let mut tries = 1;
    let created = loop {
        match cpi.create_vm(call.clone(), scope.log()).await {
            Ok(created) => break created,
            Err(error) if error.ok_to_retry() && tries < config.max_vm_create_tries => {
                scope
                    .task
                    .debug(format!("failed to create VM, retrying ({tries}): {error}"));
                tries += 1;
            }
            Err(error) => {
                scope.director.nats_users.remove(&agent_id).await;
                return Err(error.into());
            }
        }
    };
    match record(scope, subject, &agent_id, &created.vm_cid).await {
        Ok(vm) => {
            created.receipt.settle();
            Ok(vm)
        }
        Err(error) => {
            // Nobody would ever know of it.
            match cpi.delete_vm(&created.vm_cid, scope.log()).await {
                Ok(()) => created.receipt.settle(),
                Err(second) => {
                    tracing::error!(vm = created.vm_cid, error = %second, "VM that could not be recorded is still there");
                }
            }
            Err(error)
        }
    }
}

/// Writes the VM down, and that the instance's addresses are its.
async fn record(
    scope: &Scope,
    subject: &mut Subject,
    agent_id: &AgentId,
    cid: &str,
) -> Result<Vm, Error> {
    let settings = &scope.settings;
    let new = NewVm {
        agent_id: agent_id.to_string(),
        cid: Some(cid.to_owned()),
        cpi: subject.cpi.clone(),
        stemcell_api_version: subject
            .stemcell
            .api_version
            .and_then(|version| i32::try_from(version).ok()),
        stemcell_name: Some(subject.stemcell.name.clone()),
        stemcell_version: Some(subject.stemcell.version.clone()),
        env: Some(Value::Object(subject.env.clone())),
        cloud_properties: Some(Value::Object(subject.cloud_properties.clone())),
        network_spec: Some(Value::Object(subject.networks())),
        blobstore_config_sha1: Some(settings.blobstore_config_sha1.clone()),
        nats_config_sha1: Some(settings.nats_config_sha1.clone()),
        permanent_nats_credentials: false,
    };
    let elect = subject.vm.is_none();
    let tx = scope.db().begin().await?;
    let mut vm = db::vms::create(&tx, subject.id, new).await?;
    if elect {
        db::vms::set_active(&tx, subject.id, Some(vm.id)).await?;
        vm.active = Some(true);
    }
    db::ip_addresses::assign_vm(&tx, subject.id, vm.id).await?;
    if !subject.compilation {
        let old = db::instances::get(&tx, subject.id)
            .await?
            .map_or(Value::Null, |row| row.spec());
        let changes = db::instances::Changes {
            cloud_properties: Some(Value::Object(subject.cloud_properties.clone())),
            spec: Some(merged(old, &subject.spec)),
            ..db::instances::Changes::default()
        };
        db::instances::update(&tx, subject.id, changes).await?;
    }
    tx.commit().await?;
    if elect {
        subject.vm = Some(vm.clone());
        subject.fresh = true;
    } else {
        subject.inactive.push(vm.clone());
    }
    Ok(vm)
}

/// Tags the VM while its agent comes up.
async fn reach(scope: &Scope, subject: &Subject, vm: &Vm) -> Result<(), Error> {
    let agent = scope.agent(vm, &subject.name())?;
    let cid = vm.cid.as_deref().unwrap_or_default();
    let ready = async {
        agent
            .wait_until_ready(scope.director.config.agent_wait_timeout, cid)
            .await
            .map_err(Error::from)
    };
    let no_more = Map::new();
    tokio::try_join!(metadata::of_vm(scope, subject, vm, &no_more), ready)?;
    if scope.director.config.flush_arp {
        forget_hardware_addresses(scope, subject, vm).await?;
    }
    Ok(())
}

/// Tells all other agents that the addresses may be somebody else's now.
async fn forget_hardware_addresses(scope: &Scope, subject: &Subject, vm: &Vm) -> Result<(), Error> {
    let networks = subject.networks();
    let ips: Vec<String> = networks
        .values()
        .filter_map(|network| network.get("ip")?.as_str().map(str::to_owned))
        .collect();
    for other in db::vms::list(scope.db()).await? {
        if other.is_active() && other.id != vm.id {
            scope
                .agent(&other, "unknown")?
                .delete_arp_entries(&ips)
                .await;
        }
    }
    Ok(())
}

/// Puts values in the place of placeholders.
pub(crate) fn filled(
    map: &Map<String, Value>,
    values: &Values,
) -> Result<Map<String, Value>, Error> {
    match interpolate(&Value::Object(map.clone()), values, Rules::default())? {
        Value::Object(map) => Ok(map),
        other => Err(Error::other(format!("expected an object, got {other}"))),
    }
}

/// The spec as it was with what is known of the new VM.
fn merged(old: Value, new: &Spec) -> Value {
    let mut merged = match old {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for key in KEPT {
        if let Some(value) = new.0.get(key) {
            merged.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(merged)
}
