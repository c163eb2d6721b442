//! Why a call to an agent failed, in upstream's words.

use std::time::Duration;

/// A call to an agent that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No reply in time.
    #[error("Timed out sending '{method}' to instance: '{instance}', agent-id: '{agent_id}' after {} seconds", after.as_secs())]
    TimedOut {
        /// The agent's method.
        method: String,
        /// `group/id`.
        instance: String,
        /// The agent.
        agent_id: String,
        /// How long it had.
        after: Duration,
    },
    /// A new VM's agent never answered.
    #[error("Timed out pinging VM '{vm_cid}' with agent '{agent_id}' after {} seconds", after.as_secs())]
    NotReady {
        /// The VM.
        vm_cid: String,
        /// The agent.
        agent_id: String,
        /// How long it had.
        after: Duration,
    },
    /// The agent answered with an exception; this is its message.
    #[error("{0}")]
    Remote(String),
    /// The agent does not know the method, and the caller cannot do without.
    #[error("Unsupported action: {0}")]
    Unsupported(&'static str),
    /// The agent could not store a blob sent over the message bus.
    #[error("'Upload blob' action: failed to open blob")]
    UploadBlob,
    /// The agent's answer is of the wrong shape.
    #[error("invalid reply of agent '{agent_id}' to '{method}'")]
    Reply {
        /// The agent's method.
        method: String,
        /// The agent.
        agent_id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The caller's task was cancelled.
    #[error("cancelled while waiting for '{0}'")]
    Cancelled(String),
    /// The message bus itself failed.
    #[error("message bus: {operation}")]
    Bus {
        /// What was attempted.
        operation: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Upstream's error code: RpcTimeout, RpcRemoteException, ...; see `errors.rb`.
    pub fn code(&self) -> u32 {
        match self {
            Self::TimedOut { .. } | Self::NotReady { .. } => 450_002,
            Self::Remote(_) => 450_001,
            Self::Unsupported(_) => 400_012,
            Self::UploadBlob => 400_013,
            Self::Reply { .. } => 400_011,
            Self::Cancelled(_) => 10_001,
            Self::Bus { .. } => 100,
        }
    }

    /// No reply in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::NotReady { .. })
    }

    /// The agent answered, but with an exception.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// The agent does not know the method.
    pub fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Remote(message) if message.contains("unknown message"))
    }

    pub(super) fn bus(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Bus {
            operation,
            source: source.into(),
        }
    }
}
