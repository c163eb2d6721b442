//! What is done to one instance: one file per step, each of which may be repeated.
//!
//! | step | what |
//! |---|---|
//! | [`create_vm`], [`delete_vm`], [`orphan_vm`] | VMs come and go |
//! | [`disks`], [`update_disks`] | disks are made, attached, mounted, moved, orphaned |
//! | [`settings`], [`metadata`] | what agent and cloud know of a VM |
//! | [`templates`] | rendered templates go to the blobstore or the agent, old ones away |
//! | [`prepare`], [`apply`] | packages and jobs are fetched and installed |
//! | [`stop`], [`start`] | processes go down and up, with their scripts |
//! | [`update_instance`], [`delete_instance`] | all of it in order |
//! | [`snapshot`], [`dns`] | what else is to be done on the way |
//!
//! Upstream: deployment_plan/steps/, instance_updater/, stopper.rb, starter.rb, disk_manager.rb.

pub mod apply;
pub mod create_vm;
pub mod delete_instance;
pub mod delete_vm;
pub mod disks;
pub mod dns;
pub mod env;
pub mod metadata;
pub mod orphan_vm;
pub mod prepare;
pub mod settings;
pub mod snapshot;
pub mod start;
pub mod stop;
pub mod templates;
pub mod update_disks;
pub mod update_instance;
