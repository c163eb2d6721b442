//! bosh-blobstore
