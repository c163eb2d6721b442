//! bosh-agent

pub mod platform;
