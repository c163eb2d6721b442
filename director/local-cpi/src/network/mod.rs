//! How VMs are wired: a bridge in the current network namespace, a veth pair per network of a VM.
//!
//! - [`plan`] decides, from the `networks` argument, which interface gets which address; pure
//! - `host` makes the bridge, its addresses and, if asked to, masquerading
//! - `guest` makes a VM's interfaces
//! - [`Subnet`] is an address with its prefix

mod guest;
mod host;
mod plan;
mod subnet;

pub(crate) use guest::{connect, disconnect};
pub(crate) use host::{ensure, teardown};
pub(crate) use plan::{Interface, plan};
pub use subnet::Subnet;
