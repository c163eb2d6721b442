//! Looks for problems and writes them down. Upstream: problem_scanner/.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bosh_director_api::Code;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::kind::Kind;
use crate::db;
use crate::db::disks::Disk;
use crate::db::instances::Instance;
use crate::deploy::Error;
use crate::deploy::load::Rows;
use crate::deploy::parallel;
use crate::deploy::scope::Scope;

/// How long an agent may take to say that it is there.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which instances to look at: all, or some by (group, uuid or index).
pub type Wanted<'a> = Option<&'a [(String, String)]>;

/// The instances that are wanted.
pub fn find<'a>(
    scope: &Scope,
    rows: &'a Rows,
    wanted: Wanted<'_>,
) -> Result<Vec<&'a Instance>, Error> {
    let Some(wanted) = wanted else {
        return Ok(rows.instances.iter().collect());
    };
    wanted
        .iter()
        .map(|(group, id)| {
            let found = rows.instances.iter().find(|instance| {
                instance.job == *group
                    && (instance.uuid() == id || instance.index.to_string() == *id)
            });
            found.ok_or_else(|| {
                let message = format!("Instance '{}/{group}/{id}' doesn't exist", scope.name());
                Error::new(Code::InstanceNotFound, message)
            })
        })
        .collect()
}

/// Which VMs have a disk mounted, by the disk's cloud id.
pub type Mounted = BTreeMap<String, Vec<String>>;

/// Asks agents whether they are there; who has which disk mounted.
pub async fn scan_vms(scope: &Scope, rows: &Rows, wanted: Wanted<'_>) -> Result<Mounted, Error> {
    let instances: Vec<&Instance> = find(scope, rows, wanted)?
        .into_iter()
        .filter(|instance| instance.expects_vm())
        .collect();
    let ignored = instances
        .iter()
        .filter(|instance| instance.is_ignored())
        .count();
    let stage = scope.task.stage(
        &format!("Scanning {} VMs", instances.len()),
        Vec::new(),
        Some(2),
    );
    let mounted = Mutex::new(Mounted::new());
    let asked = instances
        .into_iter()
        .filter(|instance| !instance.is_ignored());
    let checked = parallel::each(scope.max_threads(), asked, |instance| {
        let mounted = &mounted;
        async move { check_vm(scope, rows, instance, mounted).await }
    });
    let states = stage.run("Checking VM states", checked).await?;
    let count = |wanted: Option<Kind>| states.iter().filter(|state| **state == wanted).count();
    let mut summary = format!(
        "{} OK, {} unresponsive, {} missing, 0 unbound",
        count(None),
        count(Some(Kind::UnresponsiveAgent)),
        count(Some(Kind::MissingVm))
    );
    if ignored > 0 {
        summary += &format!(", {ignored} ignored");
    }
    stage.run(summary, async { Ok::<_, Error>(()) }).await?;
    Ok(mounted.into_inner())
}

async fn check_vm(
    scope: &Scope,
    rows: &Rows,
    instance: &Instance,
    mounted: &Mutex<Mounted>,
) -> Result<Option<Kind>, Error> {
    let disks = rows.disks(instance.id);
    let known = disks
        .iter()
        .find(|disk| disk.is_active() && disk.is_managed());
    let Some(vm) = rows.active_vm(instance.id) else {
        found(scope, Kind::MissingVm, instance.id.0, &json!({})).await?;
        return Ok(Some(Kind::MissingVm));
    };
    let cid = vm.cid.clone().unwrap_or_default();
    let agent = scope.agent(vm, &instance.name())?;
    let state = agent.call_within("get_state", Vec::new(), TIMEOUT);
    let own = match scope.unless_gone(vm, state).await {
        None => return silent(scope, instance, &cid, known, mounted, Kind::MissingVm).await,
        Some(Ok(_)) => match agent.list_disk().await {
            Ok(disks) => disks.into_iter().next(),
            Err(error) if error.is_timeout() => None,
            Err(error) => return Err(error.into()),
        },
        Some(Err(error)) if error.is_timeout() => {
            let kind = if scope.has_vm(vm).await? {
                Kind::UnresponsiveAgent
            } else {
                Kind::MissingVm
            };
            return silent(scope, instance, &cid, known, mounted, kind).await;
        }
        Some(Err(error)) => return Err(error.into()),
    };
    note(mounted, own, &cid).await;
    Ok(None)
}

/// The problem of an instance whose agent said nothing.
async fn silent(
    scope: &Scope,
    instance: &Instance,
    vm: &str,
    disk: Option<&Disk>,
    mounted: &Mutex<Mounted>,
    kind: Kind,
) -> Result<Option<Kind>, Error> {
    // Counted as mounted, so that one problem does not show as two.
    note(mounted, disk.map(|disk| disk.disk_cid.clone()), vm).await;
    found(scope, kind, instance.id.0, &json!({})).await?;
    Ok(Some(kind))
}

async fn note(mounted: &Mutex<Mounted>, disk: Option<String>, vm: &str) {
    if let Some(disk) = disk {
        mounted
            .lock()
            .await
            .entry(disk)
            .or_default()
            .push(vm.to_owned());
    }
}

/// Looks at the disks of all instances that are not ignored.
pub async fn scan_disks(scope: &Scope, rows: &Rows, mounted: &Mounted) -> Result<(), Error> {
    let by_id: HashMap<_, _> = rows
        .instances
        .iter()
        .map(|instance| (instance.id, instance))
        .collect();
    let disks: Vec<(&Instance, &Disk)> = rows
        .disks
        .iter()
        .filter_map(|(id, disks)| by_id.get(id).map(|instance| (*instance, disks)))
        .filter(|(instance, _)| !instance.is_ignored())
        .flat_map(|(instance, disks)| disks.iter().map(move |disk| (instance, disk)))
        .collect();
    let name = format!("Scanning {} persistent disks", disks.len());
    let stage = scope.task.stage(&name, Vec::new(), Some(2));
    let checked = parallel::each(scope.max_threads(), disks, |(instance, disk)| {
        check_disk(scope, rows, instance, disk, mounted)
    });
    let states = stage.run("Looking for inactive disks", checked).await?;
    let count = |wanted: Option<Kind>| states.iter().filter(|state| **state == wanted).count();
    let summary = format!(
        "{} OK, {} missing, {} inactive, {} mount-info mismatch",
        count(None),
        count(Some(Kind::MissingDisk)),
        count(Some(Kind::InactiveDisk)),
        count(Some(Kind::MountInfoMismatch))
    );
    stage.run(summary, async { Ok(()) }).await
}

async fn check_disk(
    scope: &Scope,
    rows: &Rows,
    instance: &Instance,
    disk: &Disk,
    mounted: &Mounted,
) -> Result<Option<Kind>, Error> {
    let cpi = scope.cpi(disk.cpi.as_deref().unwrap_or_default(), None)?;
    let there = match cpi.has_disk(&disk.disk_cid, scope.log()).await {
        Err(error) if error.is_not_implemented() => true,
        other => other?,
    };
    let (kind, data) = if !there {
        (Kind::MissingDisk, json!({}))
    } else if !disk.is_active() {
        (Kind::InactiveDisk, json!({}))
    } else {
        let Some(vm) = rows.active_vm(instance.id) else {
            return Ok(None);
        };
        let owners = mounted.get(&disk.disk_cid).cloned().unwrap_or_default();
        if owners.len() == 1 && owners.first() == vm.cid.as_ref() {
            return Ok(None);
        }
        (Kind::MountInfoMismatch, json!({ "owner_vms": owners }))
    };
    found(scope, kind, disk.id.0, &data).await?;
    Ok(Some(kind))
}

async fn found(scope: &Scope, kind: Kind, resource: i32, data: &Value) -> Result<(), Error> {
    scope
        .task
        .debug(format!("found problem {} {resource}", kind.as_str()));
    let tx = scope.db().begin().await?;
    db::problems::found(&tx, scope.deployment.id, kind.as_str(), resource, data).await?;
    Ok(tx.commit().await?)
}
