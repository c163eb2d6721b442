//! The NATS subjects agents use. Source: upstream mbus/nats_handler.go and the director's nats_rpc.rb.

use crate::ids::AgentId;

/// Requests to one agent.
pub fn requests(agent: &AgentId) -> String {
    format!("agent.{agent}")
}

/// Where an agent's heartbeats go.
pub fn heartbeat(agent: &AgentId) -> String {
    hm(Topic::Heartbeat, agent)
}

/// Where an agent's alerts go.
pub fn alert(agent: &AgentId) -> String {
    hm(Topic::Alert, agent)
}

/// Where an agent announces that it is going away on purpose.
pub fn shutdown(agent: &AgentId) -> String {
    hm(Topic::Shutdown, agent)
}

/// Matches everything agents tell the health monitor.
pub const HM_WILDCARD: &str = "hm.agent.*.*";

/// What a message to the health monitor is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A [`crate::Heartbeat`].
    Heartbeat,
    /// A [`crate::Alert`].
    Alert,
    /// `null`: the VM is being taken down by the director.
    Shutdown,
}

impl Topic {
    /// The word in the subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Alert => "alert",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The subject of a message to the health monitor.
pub fn hm(topic: Topic, agent: &AgentId) -> String {
    format!("hm.agent.{}.{agent}", topic.as_str())
}

/// Takes `hm.agent.<topic>.<agent id>` apart; `None` for any other subject.
pub fn parse_hm(subject: &str) -> Option<(Topic, &str)> {
    let (topic, agent) = subject.strip_prefix("hm.agent.")?.split_once('.')?;
    let topic = match topic {
        "heartbeat" => Topic::Heartbeat,
        "alert" => Topic::Alert,
        "shutdown" => Topic::Shutdown,
        _ => return None,
    };
    (!agent.is_empty() && !agent.contains('.')).then_some((topic, agent))
}
