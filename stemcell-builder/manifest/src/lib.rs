//! bosh-stemcell-manifest
