//! `cancel_task`: asks a drain or an errand to end. Its task ends later, with an error or with what there is.

use bosh_protocol::AgentTaskId;

use super::Error;
use super::arguments::Arguments;
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<&'static str, Error> {
    let id: AgentTaskId = arguments.get(0)?;
    match agent.tasks.cancel(&id) {
        None => Err(Error::refused(format!(
            "Task with id {id} could not be found"
        ))),
        Some(false) => Err(Error::refused("not supported")),
        Some(true) => Ok("canceled"),
    }
}
