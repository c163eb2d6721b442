//! `list_disk`: the persistent disks that are mounted.

use bosh_protocol::DiskCid;

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<Vec<DiskCid>, Error> {
    agent
        .settings
        .load()
        .await
        .context("Refreshing the settings")?;
    let mut mounted = Vec::new();
    for (cid, disk) in agent
        .settings
        .persistent_disks()
        .context("Getting persistent disk settings")?
    {
        let checked = agent.platform.is_persistent_disk_mounted(&disk).await;
        if checked.context(format!("Checking whether device {cid} is mounted"))? {
            mounted.push(cid);
        }
    }
    Ok(mounted)
}
