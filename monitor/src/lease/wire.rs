//! What monitors say to each other: JSON objects on [`SUBJECT`].

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where they say it.
pub const SUBJECT: &str = "hm.agent.shutdown.bosh-monitor-lease";

/// What a monitor says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It acts.
    Leader,
    /// It does not, but would if nobody else did: said once per interval, so that the leader knows.
    Standby,
    /// It would like to.
    Candidate,
    /// It will, once it has heard this itself.
    Claim,
    /// It has stopped.
    Gone,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who: made anew at every start.
    pub id: Uuid,
    /// The sender's own count.
    pub seq: u64,
    /// What it is.
    pub role: Role,
    /// [`key`]s of the alerts that a leader has handed to its plugins since its last message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handled: Vec<u64>,
}

/// What tells an alert on the bus from another: FNV-1a of its subject and text, the same in every monitor.
pub fn key(subject: &str, payload: &[u8]) -> u64 {
    let bytes = subject.bytes().chain([0]).chain(payload.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
