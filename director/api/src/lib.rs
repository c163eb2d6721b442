//! What the director's HTTP interface carries: requests and replies as the CLI
//! and the health monitor send and read them (upstream:
//! bosh-director/lib/bosh/director/api/controllers). serde only.
//!
//! Fields are in the order upstream writes them; unknown ones are ignored.

mod artifacts;
mod code;
mod configs;
mod deployments;
mod disks;
mod events;
mod info;
mod links;
mod tasks;

pub use artifacts::*;
pub use code::Code;
pub use configs::*;
pub use deployments::*;
pub use disks::*;
pub use events::*;
pub use info::*;
pub use links::*;
pub use tasks::*;

/// A failed request (upstream: base_controller.rb).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorReply {
    /// See [`Code`].
    pub code: u32,
    /// What went wrong, with which object.
    pub description: String,
}
