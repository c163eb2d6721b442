//! bosh-local-cpi
