//! `create_vm`, `delete_vm`, `reboot_vm`, `set_vm_metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bosh_cpi::{CreateVm, Object};
use serde_json::Value;

use super::Cpi;
use crate::container::{self, Properties};
use crate::error::chain;
use crate::ids::{DiskCid, StemcellCid, VmCid};
use crate::store::{Kind, VmRecord, write_json};
use crate::{Error, network, settings};

/// Returns the id and the networks as the agent sees them.
pub(super) fn create_vm(cpi: &Cpi, request: &CreateVm) -> Result<(VmCid, Value), Error> {
    let properties = Properties::parse(&request.cloud_properties)?;
    let stemcell = StemcellCid::try_from(request.stemcell_cid.clone())
        .ok()
        .filter(|cid| cpi.store.exists(cid))
        .ok_or_else(|| Error::StemcellNotFound(request.stemcell_cid.clone()))?;
    let cid = VmCid::generate();
    let networks = claim(cpi, request, &cid, stemcell, properties)?;
    let _lock = cpi.store.lock(&cid)?;
    let mut record = cpi.store.read(&cid)?;
    match container::boot(&cpi.config, &cpi.store, &cid, &mut record) {
        Ok(()) => Ok((cid, Value::Object(networks))),
        Err(error) => {
            // The first error is the one to tell; what undoing it says goes to the log.
            let undone = container::destroy(&cpi.config, &cpi.store, &cid, record.interfaces.len())
                .and_then(|()| cpi.store.remove(&cid));
            if let Err(undo) = undone {
                tracing::error!(vm = %cid, error = %chain(&undo), "could not undo the creation of a VM");
            }
            Err(Error::VmCreation(Box::new(error)))
        }
    }
}

/// Gives the VM its addresses and its record, and makes the bridge ready. After this, delete_vm can undo everything.
fn claim(
    cpi: &Cpi,
    request: &CreateVm,
    cid: &VmCid,
    stemcell: StemcellCid,
    properties: Properties,
) -> Result<Object, Error> {
    let _network = cpi.store.lock_network()?;
    let taken = taken(cpi)?;
    let plan = network::plan(
        &request.networks,
        &cpi.config.network,
        &taken.keys().copied().collect::<BTreeSet<_>>(),
    )?;
    for interface in &plan.interfaces {
        let address = interface.address.ip();
        if let Some(vm) = taken.get(&address) {
            return Err(Error::AddressInUse {
                address,
                vm: vm.clone(),
            });
        }
    }
    network::ensure(&cpi.store, &cpi.config.network, &plan.interfaces)?;
    let settings = settings::document(
        &request.agent_id,
        cid,
        plan.settings.clone(),
        &request.env,
        &cpi.config.agent,
    );
    let draft = cpi.store.draft(cid)?;
    write_json(&draft.path().join("settings.json"), &settings)?;
    draft.record(
        VmCid::FILE,
        &VmRecord {
            agent_id: request.agent_id.clone(),
            stemcell,
            interfaces: plan.interfaces,
            name_servers: plan.name_servers,
            limits: properties.limits,
            ephemeral: properties.ephemeral,
            disks: BTreeMap::new(),
            metadata: Object::new(),
        },
    )?;
    draft.publish()?;
    Ok(plan.settings)
}

fn taken(cpi: &Cpi) -> Result<BTreeMap<IpAddr, VmCid>, Error> {
    let mut taken = BTreeMap::new();
    for vm in cpi.store.list::<VmCid>()? {
        match cpi.store.read(&vm) {
            Ok(record) => taken.extend(record.addresses().map(|address| (address, vm.clone()))),
            Err(Error::VmNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Nothing to do if it is not there.
pub(crate) fn delete_vm(cpi: &Cpi, cid: &VmCid) -> Result<(), Error> {
    let _lock = match cpi.store.lock(cid) {
        Ok(lock) => lock,
        Err(Error::VmNotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let (interfaces, disks) = match cpi.store.read(cid) {
        Ok(record) => (record.interfaces.len(), record.disks),
        Err(Error::VmNotFound(_)) => (0, BTreeMap::new()),
        Err(error) => return Err(error),
    };
    container::destroy(&cpi.config, &cpi.store, cid, interfaces)?;
    for disk in disks.keys() {
        release(cpi, cid, disk)?;
    }
    cpi.store.remove(cid)
}

/// The disk is free to be attached elsewhere.
fn release(cpi: &Cpi, vm: &VmCid, disk: &DiskCid) -> Result<(), Error> {
    match cpi.store.read(disk) {
        Ok(mut record) if record.vm.as_ref() == Some(vm) => {
            record.vm = None;
            cpi.store.write(disk, &record)
        }
        Ok(_) | Err(Error::DiskNotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Everything in it is killed; it starts again with its root, its ephemeral and its persistent disks as they were.
pub(super) fn reboot_vm(cpi: &Cpi, cid: &VmCid) -> Result<(), Error> {
    let _lock = cpi.store.lock(cid)?;
    let mut record = cpi.store.read(cid)?;
    container::destroy(&cpi.config, &cpi.store, cid, record.interfaces.len())?;
    {
        let _network = cpi.store.lock_network()?;
        network::ensure(&cpi.store, &cpi.config.network, &record.interfaces)?;
    }
    let booted = container::boot(&cpi.config, &cpi.store, cid, &mut record);
    if booted.is_err() {
        container::destroy(&cpi.config, &cpi.store, cid, record.interfaces.len())?;
    }
    booted?;
    cpi.store.write(cid, &record)
}

pub(super) fn set_metadata(cpi: &Cpi, cid: &VmCid, metadata: Object) -> Result<(), Error> {
    let _lock = cpi.store.lock(cid)?;
    let mut record = cpi.store.read(cid)?;
    record.metadata.extend(metadata);
    cpi.store.write(cid, &record)
}
