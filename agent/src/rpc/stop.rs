//! `stop`: stops all jobs; directors of today wait until they are down.

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, protocol: u64) -> Result<&'static str, Error> {
    let stopped = match protocol > 2 {
        true => agent.supervisor.stop_and_wait().await,
        false => agent.supervisor.stop().await,
    };
    stopped.context("Stopping Monitored Services")?;
    Ok("stopped")
}
