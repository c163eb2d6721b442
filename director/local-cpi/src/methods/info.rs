//! `info` and `calculate_vm_cloud_properties`.

use bosh_cpi::VmRequirements;
use serde_json::{Value, json};

use crate::container::Properties;

/// Version 3 of the contract differs from 2 only in arguments we may ignore.
pub(super) fn info() -> Value {
    json!({"stemcell_formats": ["warden-tar", "general-tar"], "api_version": 3})
}

pub(super) fn cloud_properties(size: &VmRequirements) -> Value {
    Properties::for_size(size.cpu, size.ram, size.ephemeral_disk_size)
}
