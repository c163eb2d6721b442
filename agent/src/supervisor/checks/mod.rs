//! The tests of the control files: what monit does in each cycle.
//!
//! - `run.rs`: all tests of one service, one after the other;
//! - `facts.rs`: what was measured, for the tests and for the status pages;
//! - `files.rs`: files, directories, fifos and filesystems;
//! - `resources.rs`: limits on what processes and the machine use;
//! - `connect.rs`, `protocols.rs`, `tls.rs`: connections and what is said over them;
//! - `ping.rs`: ICMP echo;
//! - `regex.rs`: POSIX extended regular expressions, monit's kind.

mod connect;
mod facts;
mod files;
mod ping;
mod protocols;
mod regex;
mod resources;
mod run;
mod tls;

pub(crate) use facts::{Facts, SystemFacts};
pub(super) use regex::Regex;
pub(super) use run::{Finding, Job, Memory, run};
