//! Deployments: what has to change, and changing it.

pub mod plan;
