//! What the director's HTTP interface carries: requests and replies as the CLI
//! and the health monitor send and read them (upstream:
//! bosh-director/lib/bosh/director/api/controllers). serde only.

mod code;

pub use code::Code;
