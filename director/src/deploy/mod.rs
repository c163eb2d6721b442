//! Deployments: what has to change, and changing it.
//!
//! 1. [`load`] reads what is, and what the manifest's meaning depends on
//! 2. `manifest::resolve` and [`plan`] say what has to happen; both are pure
//! 3. [`persist`] writes down which instances there will be and takes their addresses; [`render`] renders templates
//! 4. [`execute`] does it: [`steps`] has one file per thing that is done to an instance ([`subject`]) or for it
//!
//! [`scope`] is what every step is given; [`parallel`] does many things at once; [`dns`] sends names to agents.

pub mod blueprint;
pub mod diff;
pub mod dns;
pub mod errand;
mod error;
pub mod execute;
pub mod finish;
pub mod links;
pub mod load;
pub mod logs;
pub mod networks;
pub mod parallel;
pub mod persist;
pub mod plan;
pub mod prepare;
pub mod render;
pub mod scope;
pub mod steps;
pub mod subject;
pub mod subjects;
pub mod variables;

pub use error::Error;
