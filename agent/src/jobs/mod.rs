//! Jobs and packages: from an apply spec to directories, links and monit files.
//!
//! | module | what |
//! |---|---|
//! | [`Applier`] | `prepare`, `apply`, and configuring the supervisor for `start` |
//! | [`fetch`] | where blobs come from and go to |
//! | [`unpack`] | download, digest, decompression and unpacking in one pass |
//! | [`tarball`] | what may be in a tarball |
//! | [`pack`] | making a tarball |
//! | [`link`] | installed versions and the links that enable one |

mod activate;
mod error;
pub mod fetch;
pub mod link;
pub mod pack;
pub mod tarball;
#[cfg(test)]
mod tests;
pub mod unpack;

pub use activate::{Applier, BoxError, Options, Supervise};
pub(crate) use activate::{chain, install_bundles, packages};
pub use error::Error;
pub use fetch::{Blobs, Destination, Source};
