//! bosh-agent
