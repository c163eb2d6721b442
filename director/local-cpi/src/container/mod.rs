//! A VM as a container: an overlay on the stemcell, its own namespaces, the agent as process 1.
//!
//! - [`bundle`] writes down what the container may do and see; pure
//! - [`Runc`] is the runtime
//! - [`boot`] puts a VM together and starts it; [`destroy`] ends it
//! - `namespace` does things inside a running VM: files, live mounts
//! - `mounts` makes mounts that only this process and the containers it starts can see
//!
//! No mount of ours is ever visible outside: each call that mounts has a mount namespace of its own, and what a container
//! keeps lives and dies with it. So a crash leaves nothing to unmount, and it does not matter whether the next call comes
//! from another mount namespace, as it does under `ip netns exec`.

mod boot;
mod bundle;
mod capabilities;
mod cgroups;
mod limits;
mod mounts;
mod namespace;
mod runc;

pub(crate) use boot::{boot, destroy, write_settings};
pub(crate) use limits::{Limits, Properties};
pub(crate) use mounts::{Detached, mount_image, private};
pub(crate) use namespace::{enter, mount_table};
pub(crate) use runc::Runc;

/// What can be process 1, in the order of preference. The first is what warden stemcells have.
pub(crate) const INITS: [&str; 2] = ["/usr/sbin/runsvdir-start", "/sbin/init"];
