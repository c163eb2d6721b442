//! `remove_dynamic_disk`: removes the link to such a disk.

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
        .platform
        .cleanup_dynamic_disk(cid.as_str())
        .await
        .context("Cleaning up dynamic disk")?;
    Ok(Map::new())
}
