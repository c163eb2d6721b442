//! `prepare_network_change`: answers, and then makes the networks what the infrastructure says now. Upstream's agent ended
//! itself a second after its answer, to be started again.

use std::sync::Arc;
use std::time::Duration;

use super::{Error, configure_networks, prepare_configure_networks};
use crate::agent::Agent;

/// How long the answer may take to leave.
const ANSWER: Duration = Duration::from_secs(1);

pub(super) async fn run(agent: &Arc<Agent>) -> Result<&'static str, Error> {
    let ok = prepare_configure_networks::run(agent).await?;
    let agent = agent.clone();
    tokio::spawn(async move {
        tokio::time::sleep(ANSWER).await;
        if let Err(error) = configure_networks::run(&agent).await {
            tracing::error!(error = error.chain(), "configure the networks");
        }
    });
    Ok(ok)
}
