//! What has to happen so that a deployment becomes as it should be. Pure: no database, no clock, no agent.
//!
//! A deploy goes through it in two steps, because addresses come before links, links before templates,
//! and templates decide what changes:
//!
//! 1. [`place`]: which instances there are, in which zones, at which addresses, which of them exist already
//!    and which existing ones are no longer needed -> [`Placement`];
//! 2. links are resolved, variables generated, packages compiled, templates rendered -> [`Bound`];
//! 3. [`plan`]: what differs per instance and what follows from it -> [`Plan`], which is data to print,
//!    to keep and to execute.
//!
//! Upstream: deployment_plan/{assembler,instance_planner,instance_plan,instance_spec}.rb and placement_planner/.

mod addresses;
mod compare;
pub mod current;
mod decide;
pub mod decision;
pub mod names;
pub mod placement;
pub(crate) mod settings;
pub mod spec;
mod statics;
#[cfg(test)]
mod tests;
mod zones;

pub use crate::manifest::Error;
pub use addresses::next_free;
pub use current::Current;
pub use decide::{job_spec, plan, vm_arguments};
pub use decision::{Action, Bound, Change, GroupPlan, InstancePlan, Plan};
pub use placement::{Chance, PlacedInstance, Placement, place};
pub use spec::Spec;
