//! `prepare_configure_networks`: lets the next start fetch its settings anew and find its interfaces anew.
//! Source: upstream agent/action/prepare_configure_networks.go.

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<&'static str, Error> {
    agent
        .settings
        .invalidate()
        .context("Invalidating settings")?;
    agent
        .platform
        .prepare_for_networking_change()
        .await
        .context("Preparing for networking change")?;
    Ok("ok")
}
