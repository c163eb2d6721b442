//! bosh-agent-fake
