//! Cloud check: what is wrong with a deployment's VMs and disks, and what can be done about it.
//!
//! - [`Kind`] names the problems and the ways out of each
//! - [`Subject`] is what a problem is about, as it is now; it puts the problem into words
//! - [`scan`] looks for problems and writes them down
//! - [`apply`] solves them as told; [`repair`] has one function per way out
//!
//! Upstream: problem_handlers/, problem_scanner/, problem_resolver.rb.

mod apply;
mod kind;
mod repair;
mod scan;
mod subject;

pub use apply::{Resolutions, apply, post_deploy};
pub use kind::{Kind, Resolution};
pub use scan::{Mounted, Wanted, find, scan_disks, scan_vms};
pub use subject::{Described, Subject, describe};
