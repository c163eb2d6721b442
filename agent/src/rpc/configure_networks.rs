//! `configure_networks`: makes the networks what the infrastructure says now. Upstream restarted its agent for that; ours,
//! which may be the first process of a container, changes over. Its task survives a restart all the same.

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<&'static str, Error> {
    agent
        .settings
        .load()
        .await
        .context("Refreshing the settings")?;
    let settings = agent.settings.get();
    let mbus: Vec<String> = settings
        .mbus_urls()
        .iter()
        .map(|url| url.expose().to_owned())
        .collect();
    agent
        .platform
        .setup_networking(&settings.networks, &mbus)
        .await
        .context("Setting up networking")?;
    // The message bus may be somewhere else, and the way to it another.
    agent.reconnect().context("Using the new settings")?;
    Ok("ok")
}
