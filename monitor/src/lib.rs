//! bosh-monitor
