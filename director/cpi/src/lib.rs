//! bosh-cpi
