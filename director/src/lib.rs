//! bosh-director
