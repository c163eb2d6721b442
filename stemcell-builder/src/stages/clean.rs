//! What must not be the same on all VMs, and what nobody needs. Upstream: `bosh_clean`, `bosh_clean_ssh`,
//! `clean_machine_id`.

use super::packages;
use super::{directory, empty, file, remove, run};
use crate::plan::Step;
use crate::recipe::{Family, Recipe};

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let mut steps = vec![
        run("rm -f /etc/ssh/ssh_host_*"),
        file("/etc/machine-id", 0o644, ""),
        remove("/var/lib/dbus/machine-id"),
        file("/etc/resolv.conf", 0o644, ""),
        empty("/tmp"),
        empty("/var/tmp"),
        empty("/run"),
        directory("/run/lock", 0o770, "root:vcap"),
        run("find /var/log -type f -delete"),
        remove("/var/cache/ldconfig/aux-cache"),
        remove("/etc/passwd-"),
        remove("/etc/group-"),
        remove("/etc/shadow-"),
        remove("/etc/gshadow-"),
        remove("/etc/subuid-"),
        remove("/etc/subgid-"),
    ];
    steps.extend(match recipe.os.family() {
        Family::Debian => vec![
            empty("/var/lib/apt/lists"),
            empty("/var/cache/apt"),
            empty("/var/cache/debconf"),
            // What was for the machine that baked it: its proxy, its mirror.
            remove("/etc/apt/apt.conf.d/99mmdebstrap"),
            empty("/etc/apt/sources.list.d"),
            file(
                "/etc/apt/sources.list",
                0o644,
                packages::public_sources(recipe.os),
            ),
        ],
        Family::RedHat => vec![empty("/var/cache/dnf"), remove("/var/lib/rpm/__db.001")],
    });
    steps
}
