//! Disks in the settings: the hints CPIs give in four dialects, and what agents make of them.
//! Source: upstream settings/settings.go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::DiskCid;
use crate::nullable;
use crate::secret::Secret;

/// The `disks` of the settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disks {
    /// `/dev/sda`, or a SCSI position.
    #[serde(default, deserialize_with = "nullable::text")]
    pub system: String,
    /// Absent where `/var/vcap/data` is to share the system disk.
    #[serde(default)]
    pub ephemeral: Option<DiskHint>,
    /// Disks already attached when the settings were written.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub persistent: BTreeMap<DiskCid, Option<DiskHint>>,
    /// Left unformatted, for jobs that want whole devices.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub raw_ephemeral: Vec<DiskSettings>,
}

/// How to find a disk, as a CPI says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DiskHint {
    /// Old CPIs: a device path or a volume id.
    Text(String),
    /// Newer CPIs: some of these.
    Fields(Box<DiskHintFields>),
}

/// The structured form of a disk hint; empty strings are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskHintFields {
    /// `/dev/sdc`
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub path: String,
    /// A SCSI position, or a cloud's volume id.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub volume_id: String,
    /// A device's id as in `/dev/disk/by-id`.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub id: String,
    /// A logical unit number, with `host_device_id`.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub lun: String,
    /// The controller of `lun`.
    #[serde(
        default,
        deserialize_with = "nullable::text",
        skip_serializing_if = "String::is_empty"
    )]
    pub host_device_id: String,
    /// A disk over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iscsi_settings: Option<IscsiHint>,
}

/// The `iscsi_settings` of a hint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IscsiHint {
    /// CHAP user.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub username: String,
    /// CHAP password.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub password: Secret,
    /// This machine's name.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub initiator_name: String,
    /// The portal's address.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub target: String,
}

/// A disk as an agent handles it, and keeps it in `persistent_disk_hints.json` with upstream's spelling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskSettings {
    /// Its CPI's name for it; empty for an ephemeral disk.
    #[serde(rename = "ID", default, deserialize_with = "nullable::or_default")]
    pub id: DiskCid,
    /// As in `/dev/disk/by-id`.
    #[serde(
        rename = "DeviceID",
        alias = "id",
        default,
        deserialize_with = "nullable::text"
    )]
    pub device_id: String,
    /// A SCSI position, or a cloud's volume id.
    #[serde(
        rename = "VolumeID",
        alias = "volume_id",
        default,
        deserialize_with = "nullable::text"
    )]
    pub volume_id: String,
    /// A logical unit number.
    #[serde(alias = "lun", default, deserialize_with = "nullable::text")]
    pub lun: String,
    /// The controller of `lun`.
    #[serde(
        rename = "HostDeviceID",
        alias = "host_device_id",
        default,
        deserialize_with = "nullable::text"
    )]
    pub host_device_id: String,
    /// A device path.
    #[serde(alias = "path", default, deserialize_with = "nullable::text")]
    pub path: String,
    /// A disk over the network.
    #[serde(
        rename = "ISCSISettings",
        default,
        deserialize_with = "nullable::or_default"
    )]
    pub iscsi: IscsiSettings,
    /// `ext4` or `xfs`; empty for the default.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub file_system_type: String,
    /// Passed to mount.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub mount_options: Vec<String>,
    /// `parted` to force it, empty to choose.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub partitioner: String,
}

/// A disk over the network, in upstream's spelling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IscsiSettings {
    /// This machine's name.
    pub initiator_name: String,
    /// CHAP user.
    pub username: String,
    /// The portal's address.
    pub target: String,
    /// CHAP password.
    pub password: Secret,
}

impl DiskSettings {
    /// What a hint says; a text is both a path and a volume id, for only the infrastructure knows which.
    pub fn from_hint(id: DiskCid, hint: Option<&DiskHint>) -> Self {
        let mut disk = Self {
            id,
            ..Self::default()
        };
        match hint {
            None => {}
            Some(DiskHint::Text(text)) => {
                disk.path = text.clone();
                disk.volume_id = text.clone();
            }
            Some(DiskHint::Fields(fields)) => {
                disk.path = fields.path.clone();
                disk.volume_id = fields.volume_id.clone();
                disk.device_id = fields.id.clone();
                disk.lun = fields.lun.clone();
                disk.host_device_id = fields.host_device_id.clone();
                if let Some(iscsi) = &fields.iscsi_settings {
                    disk.iscsi = IscsiSettings {
                        initiator_name: iscsi.initiator_name.clone(),
                        username: iscsi.username.clone(),
                        target: iscsi.target.clone(),
                        password: iscsi.password.clone(),
                    };
                }
            }
        }
        disk
    }
}
