//! The capabilities a VM gets: all that this process has itself.

use crate::Error;
use crate::error::Context;

/// Names by bit number. Source: linux/capability.h.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Those of this process that can be passed on, as `CAP_...`.
pub(super) fn own() -> Result<Vec<String>, Error> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context(|| "could not read '/proc/self/status'".to_owned())?;
    Ok(names(mask(&status, "CapBnd:") & mask(&status, "CapPrm:")))
}

fn mask(status: &str, key: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0)
}

fn names(mask: u64) -> Vec<String> {
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_names() {
        let status = "Name:\tx\nCapPrm:\t000001fffeffffff\nCapBnd:\t000001ffffffffff\n";
        let names = names(mask(status, "CapPrm:") & mask(status, "CapBnd:"));
        assert_eq!(names.len(), 40);
        assert_eq!(names[0], "CAP_CHOWN");
        assert!(names.contains(&"CAP_CHECKPOINT_RESTORE".to_owned()));
        assert!(!names.contains(&"CAP_SYS_RESOURCE".to_owned()));
    }
}
