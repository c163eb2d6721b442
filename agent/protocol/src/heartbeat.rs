//! Heartbeats to the health monitor on `hm.agent.heartbeat.<id>`, and the vitals in them.
//! Source: upstream agent/heartbeat.go, platform/vitals/vitals.go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::InstanceId;
use crate::nullable;
use crate::state::JobState;

/// One heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Empty before the first `apply`.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub deployment: String,
    /// The instance group's name; `null` before the first `apply`.
    #[serde(default)]
    pub job: Option<String>,
    /// The instance's index in its group.
    #[serde(default)]
    pub index: Option<i64>,
    /// The aggregate of all supervised processes.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub job_state: JobState,
    /// The machine's own numbers.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub vitals: Vitals,
    /// The instance's id, named as it always was.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub node_id: InstanceId,
    /// How many processes are supervised; `null` if the supervisor did not say.
    #[serde(default)]
    pub number_of_processes: Option<u64>,
}

/// Numbers as upstream prints them: percentages and kilobytes are strings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Since the previous reading; since boot in the first.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub cpu: CpuVitals,
    /// `system`, and `ephemeral` and `persistent` where mounted.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub disk: BTreeMap<String, DiskVitals>,
    /// Load averages of 1, 5 and 15 minutes, two decimals.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub load: Vec<String>,
    /// Main memory in use without caches.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mem: MemoryVitals,
    /// Swap in use.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub swap: MemoryVitals,
    /// Of the machine.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub uptime: UptimeVitals,
}

/// Shares of CPU time in per cent with one decimal: `"12.5"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuVitals {
    /// Kernel.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub sys: String,
    /// Programs.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// Waiting for disks.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub wait: String,
}

/// Whole per cents in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskVitals {
    /// Inodes.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub inode_percent: String,
    /// Bytes.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub percent: String,
}

/// Memory in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryVitals {
    /// Kilobytes of 1024 bytes.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub kb: String,
    /// Whole per cents.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub percent: String,
}

/// How long the machine has been up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UptimeVitals {
    /// Seconds; absent when 0.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "is_zero"
    )]
    pub secs: u64,
}

fn is_zero(secs: &u64) -> bool {
    *secs == 0
}
