//! `start`: tells the supervisor of the jobs of the spec and starts them.

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<&'static str, Error> {
    agent
        .tools()
        .applier
        .configure(&agent.spec.get())
        .await
        .context("Configuring jobs")?;
    agent
        .supervisor
        .start()
        .await
        .context("Starting Monitored Services")?;
    Ok("started")
}
