//! `stemcell.MF`: the manifest at the front of every stemcell tarball.
//!
//! The stemcell builder writes it, the director reads it on upload, the local CPI reads the cloud properties it carries.
//! The format is upstream's: written by `bosh-stemcell/lib/bosh/stemcell/stemcell_packager.rb` of
//! bosh-linux-stemcell-builder, read by `jobs/update_stemcell.rb` of the director and `stemcell/stemcell.go` of the CLI.
//!
//! - [`Manifest`] is the validated file; [`Manifest::parse`] and [`Manifest::to_yaml`] are its two directions.
//! - [`Error`] tells a missing key from one of the wrong type, as the director's replies do.
//! - [`mod@file`] names the members of a stemcell tarball.

mod error;
mod manifest;
mod read;

pub use error::Error;
pub use manifest::{CloudProperties, Manifest};
pub use read::MAX_BYTES;

/// Names of the members of a stemcell tarball, in the order upstream packs them.
pub mod file {
    /// The manifest itself.
    pub const MANIFEST: &str = "stemcell.MF";
    /// One installed package per line, with its version.
    pub const PACKAGES: &str = "packages.txt";
    /// Paths that `remove_dev_tools` deletes, one per line.
    pub const DEV_TOOLS: &str = "dev_tools_file_list.txt";
    /// What the CPI's `create_stemcell` is given. For `warden-tar`: a gzipped tar of the root filesystem.
    pub const IMAGE: &str = "image";
}
