//! Tags of VMs and disks in the cloud. Upstream: metadata_updater.rb.

use serde_json::{Map, Value, json};

use crate::db::disks::Disk;
use crate::db::vms::Vm;
use crate::deploy::Error;
use crate::deploy::scope::Scope;
use crate::deploy::subject::Subject;

/// Tags `vm` of `subject`, `more` on top. A CPI that cannot is left alone.
pub async fn of_vm(
    scope: &Scope,
    subject: &Subject,
    vm: &Vm,
    more: &Map<String, Value>,
) -> Result<(), Error> {
    let mut tags = subject.tags.clone();
    tags.extend(more.clone());
    tags.insert("director".into(), json!(scope.director.config.name));
    tags.insert("deployment".into(), json!(scope.name()));
    tags.insert("id".into(), json!(subject.uuid));
    tags.insert("job".into(), json!(subject.group));
    tags.insert("instance_group".into(), json!(subject.group));
    tags.insert("index".into(), json!(subject.index.to_string()));
    tags.insert("name".into(), json!(subject.name()));
    tags.insert("created_at".into(), json!(now()));
    let cid = vm.cid.as_deref().unwrap_or_default();
    let cpi = scope.cpi_of(vm)?;
    unless_unknown(scope, cpi.set_vm_metadata(cid, tags, scope.log()).await)
}

/// Tags `disk` of `subject`. A CPI that cannot is left alone.
pub async fn of_disk(scope: &Scope, subject: &Subject, disk: &Disk) -> Result<(), Error> {
    let mut tags = subject.tags.clone();
    tags.insert("director".into(), json!(scope.director.config.name));
    tags.insert("deployment".into(), json!(scope.name()));
    tags.insert("instance_id".into(), json!(subject.uuid));
    tags.insert("instance_index".into(), json!(subject.index.to_string()));
    tags.insert("instance_group".into(), json!(subject.group));
    tags.insert("attached_at".into(), json!(now()));
    let cpi = scope.cpi(disk.cpi.as_deref().unwrap_or_default(), None)?;
    unless_unknown(
        scope,
        cpi.set_disk_metadata(&disk.disk_cid, tags, scope.log())
            .await,
    )
}

fn unless_unknown(scope: &Scope, result: Result<(), bosh_cpi::Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_implemented() => {
            scope.task.debug(error.to_string());
            Ok(())
        }
        other => Ok(other?),
    }
}

fn now() -> String {
    crate::db::Timestamp::now().to_iso8601()
}
