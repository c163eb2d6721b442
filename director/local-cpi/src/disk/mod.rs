//! Disks: a directory, or an ext4 image behind a loop device.
//!
//! - [`plug`] and [`unplug`] show a disk to a running VM and take it away again, without restarting it
//! - [`LoopDevice`] is a loop device that goes when nobody uses it any more
//! - `storage` makes, grows and copies what is behind a disk

mod loopdev;
mod plug;
mod storage;

pub(crate) use loopdev::{LoopDevice, has_loop_devices};
pub(crate) use plug::{plug, unplug};
pub(crate) use storage::{copy, create, format_image, grow, path};
