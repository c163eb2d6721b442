//! Releases: taking them in, giving them new versions, deleting them.
//!
//! - `source`: where an uploaded archive comes from, and getting it
//! - `archive`: unpacking what strangers packed
//! - `manifest`, `job`: release.MF and job.MF, checked
//! - `intake`: from an unpacked archive to blobs and rows
//! - `delete`: blobs and rows go again
//!
//! A release is taken in whole or not at all: everything is checked first, then
//! blobs are stored, then all rows are written in one transaction. If anything
//! fails on the way, the blobs are deleted.

pub(crate) mod archive;
mod blobs;
pub(crate) mod delete;
pub(crate) mod intake;
mod job;
pub(crate) mod lookup;
mod manifest;
pub(crate) mod source;
mod version;

pub use manifest::dependency_key;
pub use source::Source;
