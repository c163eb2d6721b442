//! The problems there are, and the ways out of each.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The VM is there, its agent does not answer.
    UnresponsiveAgent,
    /// The VM is gone.
    MissingVm,
    /// The disk is gone.
    MissingDisk,
    /// A disk that is not in use.
    InactiveDisk,
    /// A disk is mounted elsewhere, or nowhere.
    MountInfoMismatch,
    /// What it was about has changed: there is nothing to do.
    Invalid,
}

/// A way out of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Such as `recreate_vm`.
    pub name: &'static str,
    /// In words.
    pub plan: &'static str,
}

const fn way(name: &'static str, plan: &'static str) -> Resolution {
    Resolution { name, plan }
}

const IGNORE: Resolution = way("ignore", "Skip for now");
const WITHOUT_WAIT: Resolution = way(
    "recreate_vm_without_wait",
    "Recreate VM without waiting for processes to start",
);
const RECREATE: Resolution = way("recreate_vm", "Recreate VM and wait for processes to start");

impl Kind {
    /// Reads a word of `deployment_problems.type`.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "unresponsive_agent" => Self::UnresponsiveAgent,
            "missing_vm" => Self::MissingVm,
            "missing_disk" => Self::MissingDisk,
            "inactive_disk" => Self::InactiveDisk,
            "mount_info_mismatch" => Self::MountInfoMismatch,
            "invalid_problem" => Self::Invalid,
            _ => return None,
        })
    }

    /// The word in `deployment_problems.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnresponsiveAgent => "unresponsive_agent",
            Self::MissingVm => "missing_vm",
            Self::MissingDisk => "missing_disk",
            Self::InactiveDisk => "inactive_disk",
            Self::MountInfoMismatch => "mount_info_mismatch",
            Self::Invalid => "invalid_problem",
        }
    }

    /// The ways out, as they are offered.
    pub fn resolutions(self) -> &'static [Resolution] {
        const UNRESPONSIVE: [Resolution; 6] = [
            IGNORE,
            way("reboot_vm", "Reboot VM"),
            WITHOUT_WAIT,
            RECREATE,
            way("delete_vm", "Delete VM"),
            way(
                "delete_vm_reference",
                "Delete VM reference (forceful; may need to manually delete VM from the Cloud to avoid IP conflicts)",
            ),
        ];
        const GONE: [Resolution; 4] = [
            IGNORE,
            WITHOUT_WAIT,
            RECREATE,
            way("delete_vm_reference", "Delete VM reference"),
        ];
        const NO_DISK: [Resolution; 2] = [
            IGNORE,
            way(
                "delete_disk_reference",
                "Delete disk reference (DANGEROUS!)",
            ),
        ];
        const INACTIVE: [Resolution; 3] = [
            IGNORE,
            way("delete_disk", "Delete disk"),
            way("activate_disk", "Activate disk"),
        ];
        const MISMATCH: [Resolution; 3] = [
            way("ignore", "Ignore"),
            way("reattach_disk", "Reattach disk to instance"),
            way(
                "reattach_disk_and_reboot",
                "Reattach disk and reboot instance",
            ),
        ];
        const INVALID: [Resolution; 1] = [way("close", "Close problem")];
        match self {
            Self::UnresponsiveAgent => &UNRESPONSIVE,
            Self::MissingVm => &GONE,
            Self::MissingDisk => &NO_DISK,
            Self::InactiveDisk => &INACTIVE,
            Self::MountInfoMismatch => &MISMATCH,
            Self::Invalid => &INVALID,
        }
    }

    /// The way out when nobody says which.
    pub fn auto(self) -> &'static str {
        match self {
            Self::MissingVm => "recreate_vm_without_wait",
            Self::Invalid => "close",
            _ => "ignore",
        }
    }

    /// The way out of that name.
    pub fn resolution(self, name: &str) -> Option<&'static Resolution> {
        self.resolutions()
            .iter()
            .find(|resolution| resolution.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_every_automatic_way_is_offered() {
        for kind in [
            Kind::UnresponsiveAgent,
            Kind::MissingVm,
            Kind::MissingDisk,
            Kind::InactiveDisk,
            Kind::MountInfoMismatch,
            Kind::Invalid,
        ] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert!(kind.resolution(kind.auto()).is_some(), "{kind:?}");
        }
        assert_eq!(Kind::parse("bad_weather"), None);
    }
}
