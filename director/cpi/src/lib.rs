//! The contract between the director and a CPI (cloud provider interface), versions 1 to 3.
//!
//! A CPI is an executable: one [`Request`] as JSON on its standard input, one [`Response`] as JSON on its standard
//! output, free text on its standard error. Both sides of that contract live here:
//!
//! - [`Call`] is a method with its typed arguments; a client turns it into a request, a CPI parses it from one
//! - [`Failure`] is what a CPI answers when it could not do it; [`Kind`] are the error classes a director knows
//! - [`leftovers`] are what a director that was killed had made and could not write down
//! - [`Cpi`] runs an executable: environment, log lines, redaction, time-out, concurrency, version negotiation
//!
//! Upstream: `bosh-director/lib/clouds/` and docs-bosh `content/cpi-api-*`.

mod call;
mod client;
mod envelope;
mod error;
mod journal;
mod redact;

pub use call::{ArgumentsError, Call, CreateVm, VmRequirements};
pub use client::{Cpi, CreatedDisk, CreatedNetwork, CreatedVm, Log, Options};
pub use envelope::{Context, Failure, Info, Kind, Request, Response, StemcellContext, VmContext};
pub use error::Error;
pub use journal::{Asked, Leftover, Receipt, leftovers};

/// A JSON object whose keys only the other side understands, such as `cloud_properties`.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// The newest version of the contract that this crate speaks.
pub const MAX_API_VERSION: u32 = 3;

/// The oldest version of the contract that a director still accepts: with version 1 the agent needed a registry.
pub const MIN_API_VERSION: u32 = 2;
