//! What a problem is about, as it is now.

use serde_json::Value;

use super::kind::{Kind, Resolution};
use crate::db::disks::Disk;
use crate::db::instances::Instance;
use crate::db::problems::Problem;
use crate::db::vms::Vm;
use crate::db::{self, Db, DiskId, InstanceId};
use crate::tasks::Error;

/// What a problem is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// An instance's VM.
    Vm {
        /// The instance.
        instance: Instance,
        /// Its VM, if it has one.
        vm: Option<Vm>,
    },
    /// A persistent disk.
    Disk {
        /// The disk.
        disk: Disk,
        /// Whose it is.
        instance: Instance,
        /// Its VM, if it has one.
        vm: Option<Vm>,
    },
    /// Nothing any more.
    Invalid {
        /// Why.
        error: String,
    },
}

/// A problem in words.
#[derive(Debug, Clone)]
pub struct Described {
    /// What is wrong now; [`Kind::Invalid`] if what it was about has changed.
    pub kind: Kind,
    /// In words.
    pub description: String,
    /// Of which instance group.
    pub group: String,
    /// The ways out.
    pub resolutions: &'static [Resolution],
}

impl Subject {
    /// Looks up what `problem` is about.
    pub async fn of(db: &Db, problem: &Problem) -> Result<Self, Error> {
        let Some(kind) = Kind::parse(&problem.kind) else {
            return Err(Error::other(format!(
                "Cannot find handler for '{}' problem",
                problem.kind
            )));
        };
        match kind {
            Kind::UnresponsiveAgent | Kind::MissingVm => vm(db, kind, problem).await,
            Kind::MissingDisk | Kind::InactiveDisk | Kind::MountInfoMismatch => {
                disk(db, kind, problem).await
            }
            Kind::Invalid => Ok(invalid("unknown error")),
        }
    }

    /// The instance.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Vm { instance, .. } | Self::Disk { instance, .. } => Some(instance),
            Self::Invalid { .. } => None,
        }
    }

    /// The problem in words.
    pub fn describe(&self, problem: &Problem) -> Described {
        let kind = match self {
            Self::Invalid { .. } => Kind::Invalid,
            _ => Kind::parse(&problem.kind).unwrap_or(Kind::Invalid),
        };
        let description = match self {
            Self::Invalid { error } => {
                format!(
                    "Problem ({} {}) is no longer valid: {error}",
                    problem.kind, problem.resource_id
                )
            }
            Self::Vm { instance, vm } => {
                let cid = vm.as_ref().and_then(|vm| vm.cid.as_deref());
                let cid = cid
                    .map(|cid| format!(" with cloud ID '{cid}'"))
                    .unwrap_or_default();
                match kind {
                    Kind::MissingVm => format!("VM for '{}'{cid} missing.", instance.label()),
                    _ => format!("VM for '{}'{cid} is not responding.", instance.label()),
                }
            }
            Self::Disk { disk, instance, vm } => {
                let (cid, size) = (&disk.disk_cid, disk.size.unwrap_or(0));
                match kind {
                    Kind::MissingDisk => {
                        format!("Disk '{cid}' ({}, {size}M) is missing", instance.name())
                    }
                    Kind::InactiveDisk => {
                        format!(
                            "Disk '{cid}' ({size}M) for instance '{}' is inactive",
                            instance.label()
                        )
                    }
                    _ => mismatch(disk, vm.as_ref(), &problem.data()),
                }
            }
        };
        Described {
            kind,
            description,
            group: self
                .instance()
                .map_or_else(|| "unknown job".to_owned(), |instance| instance.job.clone()),
            resolutions: kind.resolutions(),
        }
    }
}

/// Puts a problem into words, for those who choose a way out.
pub async fn describe(db: &Db, problem: &Problem) -> Result<Described, Error> {
    Ok(Subject::of(db, problem).await?.describe(problem))
}

fn mismatch(disk: &Disk, vm: Option<&Vm>, data: &Value) -> String {
    let vm = vm.and_then(|vm| vm.cid.as_deref()).unwrap_or_default();
    let owners: Vec<&str> = data["owner_vms"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mounted = if owners.is_empty() {
        "\tNot mounted in any VM".to_owned()
    } else {
        format!("\tMounted on: {}", owners.join(", "))
    };
    format!(
        "Inconsistent mount information:\nRecord shows that disk '{}' should be mounted on {vm}.\n\
         However it is currently :\n{mounted}",
        disk.disk_cid
    )
}

async fn vm(db: &Db, kind: Kind, problem: &Problem) -> Result<Subject, Error> {
    let Some(instance) = db::instances::get(db, InstanceId(problem.resource_id)).await? else {
        return Ok(invalid(&format!(
            "Instance '{}' is no longer in the database",
            problem.resource_id
        )));
    };
    let vm = db::vms::active(db, instance.id).await?;
    if kind == Kind::UnresponsiveAgent {
        let Some(vm) = &vm else {
            return Ok(invalid("VM '' is no longer in the database"));
        };
        if vm.agent_id.is_none() {
            return Ok(invalid("VM '' doesn't have an agent id"));
        }
    }
    Ok(Subject::Vm { instance, vm })
}

async fn disk(db: &Db, kind: Kind, problem: &Problem) -> Result<Subject, Error> {
    let Some(disk) = db::disks::get(db, DiskId(problem.resource_id)).await? else {
        return Ok(invalid(&format!(
            "Disk '{}' is no longer in the database",
            problem.resource_id
        )));
    };
    if kind == Kind::InactiveDisk && disk.is_active() {
        return Ok(invalid(&format!(
            "Disk '{}' is no longer inactive",
            disk.disk_cid
        )));
    }
    let Some(instance) = db::instances::get(db, disk.instance_id).await? else {
        return Ok(invalid(&format!(
            "Cannot find instance for disk '{}'",
            disk.disk_cid
        )));
    };
    let vm = db::vms::active(db, instance.id).await?;
    if kind == Kind::MountInfoMismatch && vm.is_none() {
        return Ok(invalid(&format!(
            "Can't find corresponding vm-cid for disk '{}'",
            disk.disk_cid
        )));
    }
    Ok(Subject::Disk { disk, instance, vm })
}

fn invalid(error: &str) -> Subject {
    Subject::Invalid {
        error: error.to_owned(),
    }
}
