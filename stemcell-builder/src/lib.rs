//! bosh-stemcell-builder
