//! Releases: taking them in and deleting them.

mod source;

pub use source::Source;
