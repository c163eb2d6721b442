//! Methods with their typed arguments.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Object;

/// One method of the contract with its arguments. See docs-bosh `content/cpi-api-v2-method/`.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// What the CPI can do; answers [`crate::Info`].
    Info,
    /// Answers nothing; a CPI may use it to tell that it can run.
    Ping,
    /// The cloud id of the VM this runs on (deprecated).
    CurrentVmId,
    /// Imports an image; answers the stemcell's cloud id.
    CreateStemcell {
        /// The stemcell's unpacked image file.
        image_path: String,
        /// From stemcell.MF.
        cloud_properties: Object,
        /// Since version 3: `{"tags": {..}}`.
        env: Option<Object>,
    },
    /// Forgets an image.
    DeleteStemcell {
        /// The stemcell's cloud id.
        stemcell_cid: String,
    },
    /// Makes and starts a VM; answers `[vm_cid, networks]` (version 1: `vm_cid`).
    CreateVm(Box<CreateVm>),
    /// Removes a VM. Unknown VMs count as removed.
    DeleteVm {
        /// The VM's cloud id.
        vm_cid: String,
    },
    /// Answers whether the VM exists.
    HasVm {
        /// The VM's cloud id.
        vm_cid: String,
    },
    /// Restarts a VM.
    RebootVm {
        /// The VM's cloud id.
        vm_cid: String,
    },
    /// Tags a VM.
    SetVmMetadata {
        /// The VM's cloud id.
        vm_cid: String,
        /// director, deployment, instance_group, job, id, index, name, created_at and the deployment's tags.
        metadata: Object,
    },
    /// Turns wanted resources into the cloud properties of a VM.
    CalculateVmCloudProperties {
        /// What the instance group's `vm_resources` ask for.
        requirements: VmRequirements,
    },
    /// Makes a persistent disk; answers its cloud id.
    CreateDisk {
        /// Size in MiB.
        size: u64,
        /// From the disk type.
        cloud_properties: Object,
        /// A VM the disk should be near to.
        vm_cid: Option<String>,
    },
    /// Removes a disk.
    DeleteDisk {
        /// The disk's cloud id.
        disk_cid: String,
    },
    /// Answers whether the disk exists.
    HasDisk {
        /// The disk's cloud id.
        disk_cid: String,
    },
    /// Attaches a disk; answers the hint by which the agent finds it (version 1: nothing).
    AttachDisk {
        /// The VM's cloud id.
        vm_cid: String,
        /// The disk's cloud id.
        disk_cid: String,
    },
    /// Detaches a disk.
    DetachDisk {
        /// The VM's cloud id.
        vm_cid: String,
        /// The disk's cloud id.
        disk_cid: String,
    },
    /// Answers the cloud ids of the attached disks.
    GetDisks {
        /// The VM's cloud id.
        vm_cid: String,
    },
    /// Tags a disk.
    SetDiskMetadata {
        /// The disk's cloud id.
        disk_cid: String,
        /// The tags.
        metadata: Object,
    },
    /// Grows a disk in place.
    ResizeDisk {
        /// The disk's cloud id.
        disk_cid: String,
        /// New size in MiB.
        size: u64,
    },
    /// Changes a disk in place; answers its (perhaps new) cloud id.
    UpdateDisk {
        /// The disk's cloud id.
        disk_cid: String,
        /// New size in MiB.
        size: u64,
        /// From the disk type.
        cloud_properties: Object,
    },
    /// Takes a snapshot; answers its cloud id.
    SnapshotDisk {
        /// The disk's cloud id.
        disk_cid: String,
        /// The tags.
        metadata: Object,
    },
    /// Removes a snapshot.
    DeleteSnapshot {
        /// The snapshot's cloud id.
        snapshot_cid: String,
    },
    /// Makes a network; answers `[network_cid, addresses, cloud_properties]`.
    CreateNetwork {
        /// `type`, `range`, `gateway`, `netmask_bits`, `cloud_properties`.
        definition: Object,
    },
    /// Removes a network.
    DeleteNetwork {
        /// The network's cloud id.
        network_cid: String,
    },
}

/// The arguments of `create_vm`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateVm {
    /// The id the director chose for the VM's agent.
    pub agent_id: String,
    /// The stemcell's cloud id.
    pub stemcell_cid: String,
    /// From the VM type, extensions and availability zone.
    pub cloud_properties: Object,
    /// Network name to its settings: `type`, `ip`, `netmask`, `gateway`, `dns`, `default`, `cloud_properties`.
    pub networks: Object,
    /// Disks that will most likely be attached to it.
    pub disk_cids: Vec<String>,
    /// `{"bosh": {"mbus", "blobstores", "ntp", "group", "groups", "tags", ..}, ..}`.
    pub env: Object,
}

/// The argument of `calculate_vm_cloud_properties`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct VmRequirements {
    /// Number of virtual CPUs.
    pub cpu: u64,
    /// Memory in MiB.
    pub ram: u64,
    /// Ephemeral disk in MiB.
    pub ephemeral_disk_size: u64,
}

/// A request whose method or arguments make no [`Call`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArgumentsError {
    /// Not a method of the contract. Old directors recognise this very sentence.
    #[error("Method is not known, got '{0}'")]
    UnknownMethod(String),
    /// Too few or too many arguments.
    #[error("method '{method}' takes {expected} arguments, got {got}")]
    Count {
        /// The method.
        method: String,
        /// How many it takes.
        expected: &'static str,
        /// How many there were.
        got: usize,
    },
    /// An argument of the wrong type.
    #[error("argument {position} of method '{method}': {reason}")]
    Type {
        /// The method.
        method: String,
        /// Counted from 1.
        position: usize,
        /// What was expected.
        reason: String,
    },
}

impl Call {
    /// The method's name on the wire.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ping => "ping",
            Self::CurrentVmId => "current_vm_id",
            Self::CreateStemcell { .. } => "create_stemcell",
            Self::DeleteStemcell { .. } => "delete_stemcell",
            Self::CreateVm(_) => "create_vm",
            Self::DeleteVm { .. } => "delete_vm",
            Self::HasVm { .. } => "has_vm",
            Self::RebootVm { .. } => "reboot_vm",
            Self::SetVmMetadata { .. } => "set_vm_metadata",
            Self::CalculateVmCloudProperties { .. } => "calculate_vm_cloud_properties",
            Self::CreateDisk { .. } => "create_disk",
            Self::DeleteDisk { .. } => "delete_disk",
            Self::HasDisk { .. } => "has_disk",
            Self::AttachDisk { .. } => "attach_disk",
            Self::DetachDisk { .. } => "detach_disk",
            Self::GetDisks { .. } => "get_disks",
            Self::SetDiskMetadata { .. } => "set_disk_metadata",
            Self::ResizeDisk { .. } => "resize_disk",
            Self::UpdateDisk { .. } => "update_disk",
            Self::SnapshotDisk { .. } => "snapshot_disk",
            Self::DeleteSnapshot { .. } => "delete_snapshot",
            Self::CreateNetwork { .. } => "create_network",
            Self::DeleteNetwork { .. } => "delete_network",
        }
    }

    /// The positional arguments as the given version of the contract wants them.
    pub fn arguments(&self, api_version: u32) -> Vec<Value> {
        match self {
            Self::Info | Self::Ping | Self::CurrentVmId => Vec::new(),
            Self::CreateStemcell {
                image_path,
                cloud_properties,
                env,
            } => {
                let mut arguments = vec![json!(image_path), json!(cloud_properties)];
                if let (Some(env), true) = (env, api_version >= 3) {
                    arguments.push(json!(env));
                }
                arguments
            }
            Self::DeleteStemcell { stemcell_cid } => vec![json!(stemcell_cid)],
            Self::CreateVm(vm) => vec![
                json!(vm.agent_id),
                json!(vm.stemcell_cid),
                json!(vm.cloud_properties),
                json!(vm.networks),
                json!(vm.disk_cids),
                json!(vm.env),
            ],
            Self::DeleteVm { vm_cid }
            | Self::HasVm { vm_cid }
            | Self::RebootVm { vm_cid }
            | Self::GetDisks { vm_cid } => vec![json!(vm_cid)],
            Self::SetVmMetadata { vm_cid, metadata } => vec![json!(vm_cid), json!(metadata)],
            Self::CalculateVmCloudProperties { requirements } => vec![json!(requirements)],
            Self::CreateDisk {
                size,
                cloud_properties,
                vm_cid,
            } => vec![json!(size), json!(cloud_properties), json!(vm_cid)],
            Self::DeleteDisk { disk_cid } | Self::HasDisk { disk_cid } => vec![json!(disk_cid)],
            Self::AttachDisk { vm_cid, disk_cid } | Self::DetachDisk { vm_cid, disk_cid } => {
                vec![json!(vm_cid), json!(disk_cid)]
            }
            Self::SetDiskMetadata { disk_cid, metadata }
            | Self::SnapshotDisk { disk_cid, metadata } => {
                vec![json!(disk_cid), json!(metadata)]
            }
            Self::ResizeDisk { disk_cid, size } => vec![json!(disk_cid), json!(size)],
            Self::UpdateDisk {
                disk_cid,
                size,
                cloud_properties,
            } => vec![json!(disk_cid), json!(size), json!(cloud_properties)],
            Self::DeleteSnapshot { snapshot_cid } => vec![json!(snapshot_cid)],
            Self::CreateNetwork { definition } => vec![json!(definition)],
            Self::DeleteNetwork { network_cid } => vec![json!(network_cid)],
        }
    }

    /// Reads a request's method and arguments: the CPI's side. Null stands for an empty object, list or nothing.
    pub fn parse(method: &str, arguments: &[Value]) -> Result<Self, ArgumentsError> {
        let args = Arguments { method, arguments };
        Ok(match method {
            "info" => Self::Info,
            "ping" => Self::Ping,
            "current_vm_id" => Self::CurrentVmId,
            "create_stemcell" => {
                args.count(2, 3, "2 or 3")?;
                Self::CreateStemcell {
                    image_path: args.get(0)?,
                    cloud_properties: args.get_or_default(1)?,
                    env: args.get_or_default(2)?,
                }
            }
            "delete_stemcell" => Self::DeleteStemcell {
                stemcell_cid: args.only()?,
            },
            "create_vm" => {
                args.count(4, 6, "6")?;
                Self::CreateVm(Box::new(CreateVm {
                    agent_id: args.get(0)?,
                    stemcell_cid: args.get(1)?,
                    cloud_properties: args.get_or_default(2)?,
                    networks: args.get_or_default(3)?,
                    disk_cids: args.get_or_default(4)?,
                    env: args.get_or_default(5)?,
                }))
            }
            "delete_vm" => Self::DeleteVm {
                vm_cid: args.only()?,
            },
            "has_vm" => Self::HasVm {
                vm_cid: args.only()?,
            },
            "reboot_vm" => Self::RebootVm {
                vm_cid: args.only()?,
            },
            "get_disks" => Self::GetDisks {
                vm_cid: args.only()?,
            },
            "set_vm_metadata" => {
                let (vm_cid, metadata) = args.pair()?;
                Self::SetVmMetadata { vm_cid, metadata }
            }
            "calculate_vm_cloud_properties" => Self::CalculateVmCloudProperties {
                requirements: args.only()?,
            },
            "create_disk" => {
                args.count(2, 3, "2 or 3")?;
                Self::CreateDisk {
                    size: args.get(0)?,
                    cloud_properties: args.get_or_default(1)?,
                    vm_cid: args.get_or_default(2)?,
                }
            }
            "delete_disk" => Self::DeleteDisk {
                disk_cid: args.only()?,
            },
            "has_disk" => Self::HasDisk {
                disk_cid: args.only()?,
            },
            "attach_disk" => {
                let (vm_cid, disk_cid) = args.pair()?;
                Self::AttachDisk { vm_cid, disk_cid }
            }
            "detach_disk" => {
                let (vm_cid, disk_cid) = args.pair()?;
                Self::DetachDisk { vm_cid, disk_cid }
            }
            "set_disk_metadata" => {
                let (disk_cid, metadata) = args.pair()?;
                Self::SetDiskMetadata { disk_cid, metadata }
            }
            "resize_disk" => {
                let (disk_cid, size) = args.pair()?;
                Self::ResizeDisk { disk_cid, size }
            }
            "update_disk" => {
                args.count(3, 3, "3")?;
                Self::UpdateDisk {
                    disk_cid: args.get(0)?,
                    size: args.get(1)?,
                    cloud_properties: args.get_or_default(2)?,
                }
            }
            "snapshot_disk" => {
                args.count(1, 2, "1 or 2")?;
                Self::SnapshotDisk {
                    disk_cid: args.get(0)?,
                    metadata: args.get_or_default(1)?,
                }
            }
            "delete_snapshot" => Self::DeleteSnapshot {
                snapshot_cid: args.only()?,
            },
            "create_network" => Self::CreateNetwork {
                definition: args.only()?,
            },
            "delete_network" => Self::DeleteNetwork {
                network_cid: args.only()?,
            },
            unknown => return Err(ArgumentsError::UnknownMethod(unknown.to_string())),
        })
    }
}

struct Arguments<'a> {
    method: &'a str,
    arguments: &'a [Value],
}

impl Arguments<'_> {
    fn count(&self, min: usize, max: usize, expected: &'static str) -> Result<(), ArgumentsError> {
        if (min..=max).contains(&self.arguments.len()) {
            return Ok(());
        }
        Err(ArgumentsError::Count {
            method: self.method.to_string(),
            expected,
            got: self.arguments.len(),
        })
    }

    fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, ArgumentsError> {
        let value = self.arguments.get(index).unwrap_or(&Value::Null);
        T::deserialize(value).map_err(|e| ArgumentsError::Type {
            method: self.method.to_string(),
            position: index + 1,
            reason: e.to_string(),
        })
    }

    fn get_or_default<T: DeserializeOwned + Default>(
        &self,
        index: usize,
    ) -> Result<T, ArgumentsError> {
        match self.arguments.get(index) {
            None | Some(Value::Null) => Ok(T::default()),
            Some(_) => self.get(index),
        }
    }

    fn only<T: DeserializeOwned>(&self) -> Result<T, ArgumentsError> {
        self.count(1, 1, "1")?;
        self.get(0)
    }

    fn pair<A: DeserializeOwned, B: DeserializeOwned>(&self) -> Result<(A, B), ArgumentsError> {
        self.count(2, 2, "2")?;
        Ok((self.get(0)?, self.get(1)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn every_call_survives_the_pipe() {
        let some = || object(json!({"a": {"b": 1}}));
        let cid = || "cid".to_string();
        let calls = [
            Call::Info,
            Call::Ping,
            Call::CurrentVmId,
            Call::CreateStemcell {
                image_path: "/image".into(),
                cloud_properties: some(),
                env: Some(some()),
            },
            Call::DeleteStemcell {
                stemcell_cid: cid(),
            },
            Call::CreateVm(Box::new(CreateVm {
                agent_id: "agent".into(),
                stemcell_cid: cid(),
                cloud_properties: some(),
                networks: some(),
                disk_cids: vec![cid()],
                env: some(),
            })),
            Call::DeleteVm { vm_cid: cid() },
            Call::HasVm { vm_cid: cid() },
            Call::RebootVm { vm_cid: cid() },
            Call::SetVmMetadata {
                vm_cid: cid(),
                metadata: some(),
            },
            Call::CalculateVmCloudProperties {
                requirements: VmRequirements {
                    cpu: 1,
                    ram: 2,
                    ephemeral_disk_size: 3,
                },
            },
            Call::CreateDisk {
                size: 1024,
                cloud_properties: some(),
                vm_cid: Some(cid()),
            },
            Call::DeleteDisk { disk_cid: cid() },
            Call::HasDisk { disk_cid: cid() },
            Call::AttachDisk {
                vm_cid: cid(),
                disk_cid: "disk".into(),
            },
            Call::DetachDisk {
                vm_cid: cid(),
                disk_cid: "disk".into(),
            },
            Call::GetDisks { vm_cid: cid() },
            Call::SetDiskMetadata {
                disk_cid: cid(),
                metadata: some(),
            },
            Call::ResizeDisk {
                disk_cid: cid(),
                size: 7,
            },
            Call::UpdateDisk {
                disk_cid: cid(),
                size: 7,
                cloud_properties: some(),
            },
            Call::SnapshotDisk {
                disk_cid: cid(),
                metadata: some(),
            },
            Call::DeleteSnapshot {
                snapshot_cid: cid(),
            },
            Call::CreateNetwork { definition: some() },
            Call::DeleteNetwork { network_cid: cid() },
        ];
        for call in calls {
            let arguments = call.arguments(3);
            assert_eq!(Call::parse(call.method(), &arguments), Ok(call));
        }
    }

    #[test]
    fn an_older_contract_gets_no_stemcell_env() {
        let call = Call::CreateStemcell {
            image_path: "/image".into(),
            cloud_properties: Object::new(),
            env: Some(Object::new()),
        };
        assert_eq!(call.arguments(2).len(), 2);
        assert_eq!(call.arguments(3).len(), 3);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let unknown = Call::parse("destroy_all", &[]).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "Method is not known, got 'destroy_all'"
        );
        let count = Call::parse("delete_vm", &[]).unwrap_err();
        assert_eq!(
            count.to_string(),
            "method 'delete_vm' takes 1 arguments, got 0"
        );
        let kind = Call::parse("delete_vm", &[json!(7)]).unwrap_err();
        assert!(
            kind.to_string()
                .starts_with("argument 1 of method 'delete_vm': invalid type"),
            "{kind}"
        );
    }
}
