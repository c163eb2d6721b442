//! What an operator wrote, and what it means.
//!
//! [`Input`] is everything the meaning of a deployment manifest depends on: the manifest itself, the
//! cloud and runtime configs, and what has been uploaded. [`resolve`] turns it into [`Desired`], in
//! which every name has been looked up, every default filled in and every range expanded, or into an
//! [`Error`] that carries upstream's code and text.
//!
//! Nothing in here reads a database, a clock or a file, so that a manifest can be judged in a test or a
//! dry run exactly as in a deploy.
//!
//! - [`raw`] is a view of a document as it was written, with upstream's complaints about wrong types;
//! - [`input`] and [`resolved`] are the two ends, `resolve` the way between them;
//! - [`cloud`], [`networks`], `groups`, [`addons`], [`releases`], [`update`], [`features`] read one section each;
//! - [`properties`] are those of a job, [`version`] says what `latest` stands for;
//! - [`ip`] is arithmetic on addresses and blocks of them.
//!
//! Upstream: bosh-director/lib/bosh/director/deployment_plan/*_parser.rb.

pub mod addons;
pub mod cloud;
pub mod error;
pub mod features;
mod groups;
pub mod input;
pub mod ip;
pub mod networks;
pub mod properties;
pub mod raw;
pub mod releases;
mod resolve;
pub mod resolved;
#[cfg(test)]
pub(crate) mod tests;
pub mod update;
pub mod version;
mod yaml11;

pub use error::{Error, Kind};
pub use input::{Config, Input, Options, Settings, catalog};
pub use resolve::resolve;
pub use resolved::{Desired, InstanceGroup, Job, Network, State};
