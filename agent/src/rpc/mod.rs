//! The methods of the agent: one file each, dispatched here. Source: upstream agent/action, agent/action_dispatcher.go.
//!
//! [`mod@dispatch`] is the only place that turns errors into the words that travel.

mod add_dynamic_disk;
mod add_persistent_disk;
mod apply;
mod arguments;
mod bundle_logs;
mod cancel_task;
mod compile_package;
mod compile_package_with_signed_url;
mod configure_networks;
mod delete_arp_entries;
mod dispatch;
mod drain;
mod error;
mod fetch_logs;
mod fetch_logs_with_signed_url;
mod get_state;
mod get_task;
mod info;
mod list_disk;
mod migrate_disk;
mod mount_disk;
mod ping;
mod prepare;
mod prepare_configure_networks;
mod prepare_network_change;
mod release_apply_spec;
mod remove_dynamic_disk;
mod remove_file;
mod remove_persistent_disk;
mod request;
mod run_errand;
mod run_script;
mod shutdown;
mod ssh;
mod start;
mod stop;
mod sync_dns;
mod sync_dns_with_signed_url;
pub mod tasks;
mod unmount_disk;
mod update_settings;
mod upload_blob;

pub use dispatch::{dispatch, resume};
pub use error::Error;
pub use request::{Malformed, Request};
