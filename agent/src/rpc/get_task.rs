//! `get_task`: a task's result, or that it still runs.

use bosh_protocol::{AgentTask, AgentTaskId};
use serde_json::Value;

use super::arguments::Arguments;
use super::tasks::Progress;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<Value, Error> {
    let id: AgentTaskId = arguments.get(0)?;
    match agent.tasks.progress(&id) {
        None => Err(Error::refused(format!(
            "Task with id {id} could not be found"
        ))),
        Some(Progress::Running) => serde_json::to_value(AgentTask::running(id)).plain(),
        Some(Progress::Done(value)) => Ok(value),
        Some(Progress::Failed(message)) => {
            Err(Error::refused(format!("Task {id} result: {message}")))
        }
    }
}
