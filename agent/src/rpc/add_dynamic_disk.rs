//! `add_dynamic_disk`: links a disk that something other than the director manages.

use bosh_protocol::DiskCid;
use bosh_protocol::disk::DiskHint;
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(
    agent: &Agent,
    mut arguments: Arguments,
) -> Result<Map<String, Value>, Error> {
    let cid: DiskCid = arguments.get(0)?;
    let hint: Option<DiskHint> = arguments.get(1)?;
    agent
        .settings
        .load()
        .await
        .context("Refreshing the settings")?;
    let disk = agent
        .settings
        .get()
        .persistent_disk_from_hint(cid, hint.as_ref());
    agent
        .platform
        .setup_dynamic_disk(&disk)
        .await
        .context("Setting up dynamic disk")?;
    Ok(Map::new())
}
