//! Bakes BOSH stemcells: a distribution's packages, the agent, and the settings that releases expect.
//!
//! - [`recipe`]: what was asked for, raw and validated
//! - [`plan`]: the ordered stages as plain data, made from a recipe without touching anything; `stages` has one file each
//! - [`bake`]: carries a plan out, with progress, and leaves either a whole stemcell or nothing
//! - `bootstrap` installs the packages, `layer` keeps them for the next time, `chroot` and `rootfs` work inside the tree,
//!   `inventory` lists what is in it, `pack` writes image and stemcell
//!
//! The contents follow upstream's stemcell builder (bosh-linux-stemcell-builder, `stemcell_builder/stages`), as far as a
//! container needs them.

pub mod bake;
mod bootstrap;
mod chroot;
mod command;
mod inventory;
mod layer;
mod pack;
pub mod plan;
pub mod recipe;
mod rootfs;
mod stages;
