//! `add_persistent_disk`: remembers how to find a disk that has been attached.

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
        .settings
        .add_persistent_disk(disk)
        .context("Saving persistent disk hints")?;
    Ok(Map::new())
}
