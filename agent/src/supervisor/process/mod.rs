//! Processes: how they are started, watched, counted, killed and buried. The one place in the agent that does so as PID 1.
//!
//! - `pidfd.rs`: to know at once that a process ended, whoever its parent is;
//! - `spawn.rs`: programs in a session of their own, as monit starts them;
//! - `cgroup.rs`: a cgroup for each service;
//! - `limits.rs`: descriptors;
//! - `table.rs`: /proc, and what processes use;
//! - `reap.rs`: orphans, when the agent is PID 1.

mod cgroup;
mod limits;
mod pidfd;
mod reap;
mod spawn;
mod table;

pub use reap::{Guard, protect, reap_orphans};

pub(super) use cgroup::Cgroups;
pub(super) use limits::raise;
pub(super) use pidfd::{Watch, is_alive};
pub(super) use reap::bury;
pub(super) use spawn::{signal_all, spawn};
pub(super) use table::{
    MARK, Meter, Table, marked, matching, meminfo, system, ticks_now, ticks_per_second,
};
