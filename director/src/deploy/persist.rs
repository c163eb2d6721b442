//! Writes a placement down: instances get their rows, addresses are taken.

use super::Error;
use super::load::{Rows, instance_id};
use super::plan::current::Current;
use super::plan::placement::{PlacedInstance, Placement, ReservationStatus};
use super::scope::Scope;
use crate::db::instances::{Changes, Instance, NewInstance};
use crate::db::ip_addresses::NewIpAddress;
use crate::db::{self, InstanceId, Tx, VariableSetId};
use crate::manifest::State;

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Row of each placed instance, in the order of the placement.
    pub ids: Vec<Vec<InstanceId>>,
    /// Addresses that were taken, to be given back if nothing comes of it.
    pub taken: Vec<(InstanceId, String)>,
}

/// Writes `placement` down in one transaction; `None` when another deployment was faster and has one of the addresses,
/// in which case nothing is written and the placement has to be worked out anew.
pub async fn write(
    scope: &Scope,
    placement: &Placement,
    current: &Current,
    rows: &Rows,
    variable_set: VariableSetId,
) -> Result<Option<Written>, Error> {
    let mut written = Written::default();
    let tx = scope.db().begin().await?;
    for group in &placement.groups {
        let mut ids = Vec::new();
        for placed in &group.instances {
            let id = match placed.existing {
                Some(index) => {
                    update(&tx, placed, &rows.instances[index]).await?;
                    instance_id(current.instances[index].id)
                }
                None => create(scope, &tx, placed, variable_set).await?,
            };
            if !take(scope, &tx, placed, id, &mut written).await? {
                tx.rollback().await?;
                return Ok(None);
            }
            ids.push(id);
        }
        written.ids.push(ids);
    }
    tx.commit().await?;
    Ok(Some(written))
}

/// Gives back what [`write()`] took; for when the deploy fails before any VM has it.
pub async fn give_back(scope: &Scope, written: &Written) -> Result<(), Error> {
    let tx = scope.db().begin().await?;
    for (id, address) in &written.taken {
        db::ip_addresses::release(&tx, *id, address).await?;
    }
    Ok(tx.commit().await?)
}

async fn create(
    scope: &Scope,
    tx: &Tx,
    placed: &PlacedInstance,
    variable_set: VariableSetId,
) -> Result<InstanceId, Error> {
    let row = db::instances::create(
        tx,
        NewInstance {
            job: placed.group.clone(),
            index: index(placed),
            deployment_id: scope.deployment.id,
            state: word(placed.state).into(),
            uuid: placed.uuid.clone(),
            availability_zone: placed.az.clone(),
            compilation: false,
            bootstrap: placed.bootstrap,
            variable_set_id: variable_set,
        },
    )
    .await?;
    Ok(row.id)
}

async fn update(tx: &Tx, placed: &PlacedInstance, row: &Instance) -> Result<(), Error> {
    let bootstrap = row.bootstrap.unwrap_or(false);
    let changes = Changes {
        job: (row.job != placed.group).then(|| placed.group.clone()),
        index: (row.index != index(placed)).then(|| index(placed)),
        availability_zone: placed
            .az
            .clone()
            .filter(|az| row.availability_zone.as_ref() != Some(az)),
        bootstrap: (bootstrap != placed.bootstrap).then_some(placed.bootstrap),
        ..Changes::default()
    };
    let same = changes.job.is_none()
        && changes.index.is_none()
        && changes.availability_zone.is_none()
        && changes.bootstrap.is_none();
    if same {
        Ok(())
    } else {
        Ok(db::instances::update(tx, row.id, changes).await?)
    }
}

async fn take(
    scope: &Scope,
    tx: &Tx,
    placed: &PlacedInstance,
    id: InstanceId,
    written: &mut Written,
) -> Result<bool, Error> {
    for reservation in &placed.reservations {
        let (ReservationStatus::New, Some(block)) = (reservation.status, reservation.block) else {
            continue;
        };
        let new = NewIpAddress {
            network_name: reservation.network.clone(),
            is_static: reservation.is_static,
            instance_id: id,
            task_id: scope.task.id(),
            address: block.to_string(),
            nic_group: reservation
                .nic_group
                .and_then(|group| i32::try_from(group).ok()),
        };
        if !db::ip_addresses::reserve(tx, new).await? {
            return Ok(false);
        }
        written.taken.push((id, block.to_string()));
    }
    Ok(true)
}

fn index(placed: &PlacedInstance) -> i32 {
    i32::try_from(placed.index).unwrap_or(i32::MAX)
}

fn word(state: State) -> &'static str {
    match state {
        State::Stopped => "stopped",
        State::Detached => "detached",
        State::Started | State::Recreate | State::Restart => "started",
    }
}
