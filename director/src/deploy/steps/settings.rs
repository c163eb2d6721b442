//! What a running agent is told anew: certificates to trust, disks, blobstores, its own certificate.
//!
//! Upstream: deployment_plan/instance.rb (update_instance_settings), update_instance_settings_step.rb.

use std::collections::BTreeMap;

use super::env;
use crate::agents::{Mbus, SettingsUpdate};
use crate::db;
use crate::db::vms::Vm;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// SHA-1 of nothing: no certificates to trust.
const NONE: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

/// Tells the agent of the instance's VM what differs from what it has; says nothing when nothing does.
pub async fn run(scope: &Scope, subject: &mut Subject) -> Result<(), Error> {
    let Some(vm) = subject.vm.clone() else {
        return Ok(());
    };
    let vm = of_vm(scope, subject, &vm).await?;
    subject.vm = Some(vm);
    Ok(())
}

/// The same for any VM of the instance; the VM as it is known afterwards.
pub async fn of_vm(scope: &Scope, subject: &Subject, vm: &Vm) -> Result<Vm, Error> {
    let (config, wanted) = (&scope.director.config, &scope.settings);
    let rotate = !vm.permanent_nats_credentials
        && if subject.compilation {
            config.enable_short_lived_nats_bootstrap_credentials_compilation_vms
        } else {
            config.enable_short_lived_nats_bootstrap_credentials
        };
    let blobstore = vm.blobstore_config_sha1.as_deref() != Some(&wanted.blobstore_config_sha1);
    let nats = rotate || vm.nats_config_sha1.as_deref() != Some(&wanted.nats_config_sha1);
    let certificates =
        vm.trusted_certs_sha1.as_deref().unwrap_or(NONE) != wanted.trusted_certs_sha1;
    let disk_associations: Vec<BTreeMap<String, String>> = subject
        .active_disks()
        .filter(|disk| !disk.is_managed())
        .map(|disk| {
            let name = disk.name.clone().unwrap_or_default();
            BTreeMap::from([("name".into(), name), ("cid".into(), disk.disk_cid.clone())])
        })
        .collect();
    let unmanaged = subject.disks.iter().any(|disk| !disk.is_managed());
    if !(blobstore || nats || certificates || unmanaged) {
        return Ok(vm.clone());
    }
    let agent = scope.agent(vm, &subject.name())?;
    let mbus = if nats {
        Some(mbus(scope, &agent)?)
    } else {
        None
    };
    let update = SettingsUpdate {
        trusted_certs: config.trusted_certs.clone(),
        disk_associations,
        blobstores: blobstore
            .then(|| env::blobstores(scope, subject.api_version()))
            .flatten(),
        mbus,
    };
    agent.update_settings(&update).await?;
    let changes = db::vms::Changes {
        trusted_certs_sha1: Some(wanted.trusted_certs_sha1.clone()),
        blobstore_config_sha1: Some(wanted.blobstore_config_sha1.clone()),
        nats_config_sha1: Some(wanted.nats_config_sha1.clone()),
        permanent_nats_credentials: rotate.then_some(true),
        ..db::vms::Changes::default()
    };
    db::vms::update(scope.db(), vm.id, changes).await?;
    if rotate {
        scope.director.nats_users.made_permanent(agent.id()).await;
    }
    Ok(Vm {
        trusted_certs_sha1: Some(wanted.trusted_certs_sha1.clone()),
        blobstore_config_sha1: Some(wanted.blobstore_config_sha1.clone()),
        nats_config_sha1: Some(wanted.nats_config_sha1.clone()),
        permanent_nats_credentials: rotate || vm.permanent_nats_credentials,
        ..vm.clone()
    })
}

fn mbus(scope: &Scope, agent: &crate::agents::Agent) -> Result<Mbus, Error> {
    let credentials = scope.director.nats_ca.permanent(agent.id())?;
    Ok(Mbus {
        ca: scope.director.nats_server_ca.clone(),
        certificate: credentials.certificate,
        private_key: credentials.private_key,
    })
}
