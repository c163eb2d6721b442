//! `Platform.Linux` of agent.json. Upstream: platform/linux_platform.go, LinuxOptions.

use serde::Deserialize;

/// How this machine's infrastructure wants its disks, directories and services set up. Keys are upstream's; absent
/// ones are false or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Options {
    /// Leave /tmp and /var/tmp where they are.
    pub use_default_tmp_dir: bool,
    /// Persistent disks come formatted and are mounted whole, without a partition.
    pub use_preformatted_persistent_disk: bool,
    /// Persistent disks are directories, and bind-mounted.
    pub bind_mount_persistent_disk: bool,
    /// Without an ephemeral disk, take the rest of the root disk for it.
    pub create_partition_if_no_ephemeral_disk: bool,
    /// Do not touch root and ephemeral disks.
    pub skip_disk_setup: bool,
    /// How disks are found: `virtio`, `scsi`, `iscsi`, or by the path in the settings if empty.
    pub device_path_resolution_type: String,
    /// Glob of the links to volumes that are not instance storage.
    pub instance_storage_managed_volume_pattern: String,
    /// Glob of all devices that may be instance storage; `/dev/nvme*n1` if empty.
    pub instance_storage_device_pattern: String,
    /// `parted`, `sfdisk`, or by the size of the disk if empty.
    pub partitioner_type: String,
    /// `systemd`, or runit if empty.
    pub service_manager: String,
    /// What of a disk's id to replace before it is looked for in /dev/disk/by-id: a regular expression.
    #[serde(rename = "DiskIDTransformPattern")]
    pub disk_id_transform_pattern: String,
    /// What to replace it by.
    #[serde(rename = "DiskIDTransformReplacement")]
    pub disk_id_transform_replacement: String,
    /// Where links by LUN are, `/dev/disk/azure/data/by-lun`.
    pub lun_device_symlink_path: String,
    /// The stemcell protects monit's port itself.
    pub use_monit_iptables_firewall: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_upstreams() {
        let options: Options = serde_json::from_str(
            r#"{"UsePreformattedPersistentDisk": true, "BindMountPersistentDisk": true, "SkipDiskSetup": true,
                "DiskIDTransformPattern": "^(x)$", "DevicePathResolutionType": "virtio", "EnableDNS": true}"#,
        )
        .unwrap();
        let expected = Options {
            use_preformatted_persistent_disk: true,
            bind_mount_persistent_disk: true,
            skip_disk_setup: true,
            disk_id_transform_pattern: "^(x)$".into(),
            device_path_resolution_type: "virtio".into(),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }
}
