//! Long-running tasks as callers see them. Source: upstream agent/task/task.go.

use serde::{Deserialize, Serialize};

use crate::ids::AgentTaskId;

/// The reply to an asynchronous method, and to `get_task` while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTask {
    /// What to ask `get_task` for.
    pub agent_task_id: AgentTaskId,
    /// Always `running` on the wire: a finished task answers with its value or an exception instead.
    pub state: TaskState,
}

impl AgentTask {
    /// A task that has just been started.
    pub fn running(id: AgentTaskId) -> Self {
        Self {
            agent_task_id: id,
            state: TaskState::Running,
        }
    }
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not finished.
    Running,
    /// Finished with a value.
    Done,
    /// Finished with an error.
    Failed,
}
