//! Releases: taking them in and deleting them.

mod manifest;
mod source;

pub use manifest::dependency_key;
pub use source::Source;
