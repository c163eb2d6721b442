//! `get_state`: the apply spec and what became of it; with vitals if asked for `full`.

use bosh_protocol::State;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<State, Error> {
    let full = arguments
        .optional::<String>(0)?
        .is_some_and(|filter| filter == "full");
    let vitals = match full {
        true => Some(
            agent
                .vitals
                .read(&*agent.platform)
                .await
                .context("Building full vitals")?,
        ),
        false => None,
    };
    let settings = agent.settings.get();
    Ok(State {
        spec: (*agent.spec.get()).clone(),
        agent_id: settings.agent_id.clone(),
        job_state: agent.supervisor.status().await,
        vitals,
        processes: agent
            .supervisor
            .processes()
            .await
            .context("Getting processes status")?,
        vm: settings.vm.clone(),
    })
}
