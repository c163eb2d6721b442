//! `unmount_disk`: says in words whether there was anything to unmount.

use bosh_protocol::DiskCid;
use bosh_protocol::arguments::Unmounted;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<Unmounted, Error> {
    let cid: DiskCid = arguments.get(0)?;
    let disk = agent
        .settings
        .persistent_disk(&cid)
        .context("Getting persistent disk settings")?;
    let unmounted = agent
        .platform
        .unmount_persistent_disk(&disk)
        .await
        .context("Unmounting persistent disk")?;
    let message = match unmounted {
        true => format!("Unmounted partition of {disk:?}"),
        false => format!("Partition of {disk:?} is not mounted"),
    };
    Ok(Unmounted { message })
}
