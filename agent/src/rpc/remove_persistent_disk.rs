//! `remove_persistent_disk`: forgets a disk that is about to be detached.

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
    agent
        .settings
        .remove_persistent_disk(&cid)
        .context("Removing persistent disk hints")?;
    Ok(Map::new())
}
