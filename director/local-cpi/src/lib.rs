//! A CPI that makes its VMs on this machine: containers with the agent as process 1.
//!
//! One invocation answers one request of the contract in `bosh-cpi` and ends. VMs outlive it, and the director.
//!
//! - [`rpc`] reads the request and writes the answer; `methods` has one file per kind of object
//! - [`config`] is this CPI's own file
//! - `store` is what it remembers, as files under its root
//! - `container` makes a VM out of a stemcell; `network` wires it; `disk` is what can be attached to it
//! - `settings` is the file the agent reads at boot
//! - `unpack` opens stemcell images
//! - [`cleanup`] takes everything down
//!
//! Everything is relative to the network and mount namespaces of the caller.

mod cleanup;
mod command;
pub mod config;
mod container;
mod disk;
mod error;
mod ids;
mod methods;
mod network;
pub mod rpc;
mod settings;
mod store;
mod unpack;

pub use cleanup::cleanup;
pub use error::{Error, chain};
pub use network::Subnet;
