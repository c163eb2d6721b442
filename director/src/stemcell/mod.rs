//! Stemcells: handing their images to CPIs, and deleting them.
//!
//! - `intake`: from an archive to an image on every CPI
//! - `delete`: images and rows go again

pub(crate) mod delete;
pub(crate) mod intake;
