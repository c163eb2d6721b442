//! bosh-protocol
