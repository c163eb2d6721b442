//! One file per kind of work: its parameters, as they wait in the queue, and `run`.

pub mod apply_resolutions;
pub mod attach_disk;
pub mod clean_dns_blobs;
pub mod clean_dns_tombstones;
pub mod clean_events;
pub mod clean_orphaned_disks;
pub mod clean_orphaned_vms;
pub mod clean_tasks;
pub mod cleanup_artifacts;
pub mod delete_deployment;
pub mod delete_orphan_disks;
pub mod delete_release;
pub mod delete_stemcell;
pub mod delete_vm;
pub mod fetch_logs;
pub mod orphan_disk;
pub mod run_errand;
pub mod scan;
pub mod scan_and_fix;
pub mod ssh;
pub mod update_deployment;
pub mod update_instance;
pub mod update_release;
pub mod update_stemcell;
pub mod vm_state;
