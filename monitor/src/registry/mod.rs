//! Known deployments, instances and agents. No I/O; time is an argument.
//!
//! Source: upstream's instance_manager.rb, deployment.rb, agent.rb, instance.rb. Upstream keeps every attribute of an
//! instance in its agent too; here an agent is its numbers and a place, the attributes are in [`Instance`] alone.
//!
//! - [`Id`]: agents' and instances' ids;
//! - [`Instance`], [`Deployment`], [`Told`]: what the director says;
//! - [`Agent`], [`JobState`], [`Vitals`], [`History`]: what agents say;
//! - [`Registry`]: all of it.

mod agent;
mod deployment;
mod id;
mod state;
#[cfg(test)]
mod tests;
mod vitals;

pub use agent::{Agent, Detail, JobState, Place};
pub use deployment::{Deployment, Instance, Told};
pub use id::Id;
pub use state::{Counts, Registry};
pub use vitals::{History, Reading, SAMPLE_EVERY, SAMPLES, Sample, Vitals};
