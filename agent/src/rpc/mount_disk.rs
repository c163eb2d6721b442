//! `mount_disk`: partitions and formats a new persistent disk, and mounts it at /var/vcap/store.

use bosh_protocol::DiskCid;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(
    agent: &Agent,
    mut arguments: Arguments,
) -> Result<Map<String, Value>, Error> {
    let cid: DiskCid = arguments.get(0)?;
    agent
        .settings
        .load()
        .await
        .context("Refreshing the settings")?;
    let disk = agent
        .settings
        .persistent_disk(&cid)
        .context("Reading persistent disk settings")?;
    let store = agent.dirs().store();
    let adjusted = agent
        .platform
        .adjust_persistent_disk_partitioning(&disk, &store)
        .await;
    adjusted.context("Adjusting persistent disk partitioning")?;
    agent
        .platform
        .mount_persistent_disk(&disk, &store)
        .await
        .context("Mounting persistent disk")?;
    Ok(Map::new())
}
