//! `shutdown`: powers the machine off; the reply may or may not arrive.

use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent) -> Result<&'static str, Error> {
    agent.platform.shutdown().await.plain()?;
    Ok("")
}
