//! Who may read and do what. Upstream: `base_file_permission`, `bosh_go_agent`, `bosh_harden`.

use super::{file, remove, run};
use crate::plan::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![
        run("chown root:root /etc/shadow /etc/gshadow && chmod 0000 /etc/shadow /etc/gshadow"),
        Step::Unprivilege {
            keep: vec!["su", "sudo", "sudoedit"],
        },
        remove("/etc/cron.deny"),
        remove("/etc/at.deny"),
        file("/etc/cron.allow", 0o600, "vcap\n"),
        file("/etc/at.allow", 0o600, "vcap\n"),
        run(
            "for path in /etc/crontab /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/cron.d; do \
             if [ -e $path ]; then chown root:root $path && chmod og-rwx $path; fi; done",
        ),
        run("chmod 1777 /tmp /var/tmp"),
    ]
}
