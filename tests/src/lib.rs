//! bosh-tests
