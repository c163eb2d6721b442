//! Blobs by id, wherever they are kept: used by the agent and by the director.
//!
//! | module | what |
//! |---|---|
//! | [`Store`] | get, put, delete, sign by id; made from `provider` and `options` of the settings |
//! | [`Blob`], [`Content`] | one blob coming and going: streams of constant memory, digests checked and made in passing |
//! | [`Http`] | fetch and store through URLs that somebody else signed |
//! | [`signing`] | signed URLs of a DAV blobstore, made and verified |
//! | [`digests`] | several digests of one stream at once |
//! | [`id`] | which ids are allowed and where a DAV blobstore keeps a blob |
//! | [`options`] | the settings as written |
//!
//! One file per backend. Backends are an enum, not a trait object: there are few, all are known, and their futures need no
//! boxing.
//!
//! | provider | feature | where |
//! |---|---|---|
//! | `local`, `dav` | | `local.rs`, `dav.rs` |
//! | any other, by a program `bosh-blobstore-<provider>` | | `program.rs` |
//! | `simple`, `atmos` | `simple`, `atmos` | `simple.rs`, `atmos.rs` |
//! | `s3`, `gcs`, `azure-storage` | `s3`, `gcs`, `azure` | `cloud/` |
//!
//! The agent has none of the features: it is small, and the director signs URLs for it.

#[cfg(feature = "atmos")]
mod atmos;
mod blob;
#[cfg(feature = "cloud")]
mod cloud;
#[cfg(feature = "contract")]
pub mod contract;
mod dav;
pub mod digests;
mod error;
mod http;
pub mod id;
mod local;
pub mod options;
mod program;
pub mod signing;
#[cfg(feature = "simple")]
mod simple;
mod store;

pub use blob::{Blob, Chunks, Content};
pub use error::Error;
pub use http::Http;
pub use signing::{Action, SignedUrl};
pub use store::{Listed, Store, Stored};
