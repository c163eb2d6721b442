//! bosh-director-api
