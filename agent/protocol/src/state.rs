//! What `get_state` and `info` answer. Source: upstream agent/action/{get_state,info}.go, jobsupervisor.

use serde::{Deserialize, Serialize};

use crate::apply_spec::ApplySpec;
use crate::heartbeat::Vitals;
use crate::ids::AgentId;
use crate::nullable;
use crate::settings::Vm;

/// The instance's apply spec and what became of it, in one flat object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What was applied last.
    #[serde(flatten)]
    pub spec: ApplySpec,
    /// Who answers.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub agent_id: AgentId,
    /// The aggregate of all supervised processes.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub job_state: JobState,
    /// Only in the answer to `get_state("full")`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vitals: Option<Vitals>,
    /// Every supervised process; absent if there is none.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub processes: Vec<Process>,
    /// The VM's name from the settings.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub vm: Vm,
}

/// The aggregate state of an instance's processes. Source: upstream jobsupervisor/monit_job_supervisor.go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// All run.
    Running,
    /// At least one does not run though it should.
    Failing,
    /// At least one is being started.
    Starting,
    /// They were stopped on purpose.
    Stopped,
    /// The supervisor could not be asked, or a word this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failing => "failing",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One supervised process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// The service's name in its monit file.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub name: String,
    /// `running`, `failing`, `starting`, `unknown`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub state: String,
    /// Since it was started.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub uptime: ProcessUptime,
    /// With its children.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mem: ProcessMemory,
    /// With its children.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub cpu: ProcessCpu,
}

/// Uptime of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUptime {
    /// Seconds; absent when 0.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "is_zero"
    )]
    pub secs: u64,
}

/// Memory of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Kilobytes of 1024 bytes; absent when 0.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "is_zero"
    )]
    pub kb: u64,
    /// Of main memory.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub percent: f64,
}

/// CPU use of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessCpu {
    /// Per cent of one CPU.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub total: f64,
}

/// The answer to `info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// 1 where signed URLs, trusted certificates by `update_settings` and the like work; 0 for agents without `info`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub api_version: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
