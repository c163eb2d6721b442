//! When to have the director repair, purely.
//!
//! - [`Tracker`], [`Thresholds`]: the meltdown brake;
//! - [`Rules`]: the resurrection configs.

mod rules;
mod tracker;

pub use rules::Rules;
pub use tracker::{State, Thresholds, Tracker, Verdict};
