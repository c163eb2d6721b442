//! The job supervisor: starts, watches and restarts the processes of the jobs of a VM, in place of monit.
//!
//! - `handle.rs`: [`Options`], [`Handle`], [`MonitAlert`], [`Error`]: what the rest of the agent sees;
//! - `actor/`: [`Service`], the task that does what the state machine says;
//! - `service/`: the state machine, pure, and the policies in its documentation;
//! - `monitrc/`: monit's control files;
//! - `checks/`: the tests of the control files;
//! - `process/`: starting, watching, killing and burying processes;
//! - `cli/`: the `monit` command;
//! - `api/`: monit's HTTP interface on 127.0.0.1:2822;
//! - `mail.rs`: alerts by mail, where there is no agent of ours;
//! - `state.rs`: what survives a restart of the agent.

pub mod api;
pub mod cli;

mod actor;
mod checks;
mod handle;
mod mail;
pub mod monitrc;
mod process;
mod service;
mod state;

pub use actor::Service;
pub use handle::{Error, Handle, MonitAlert, Options, Overview, STOP_DEADLINE, System, VCAP_GROUP};
pub use process::{Guard, protect, reap_orphans};
pub use service::{Action, Monitoring, Snapshot, Vitals};
