//! `migrate_disk`: copies the old persistent disk to the new one and puts that in its place.

use serde_json::{Map, Value};

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<Map<String, Value>, Error> {
    let (from, to) = (agent.dirs().store(), agent.dirs().store_migration());
    agent
        .platform
        .migrate_persistent_disk(&from, &to)
        .await
        .context("Migrating persistent disk")?;
    Ok(Map::new())
}
