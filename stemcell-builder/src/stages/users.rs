//! vcap, the groups that let people in, and who may become root. Upstream: `bosh_users`, `bosh_sudoers`,
//! `restrict_su_command`.
//!
//! Upstream bakes in a password that everybody knows; here vcap and root have none until the agent sets one.

use super::{append, directory, file, run};
use crate::plan::Step;

const SUDOERS: &str = "\
Defaults !lecture, tty_tickets, !fqdn
root ALL=(ALL) ALL
%admin ALL=(ALL) ALL
%bosh_sudoers ALL=(ALL) NOPASSWD: ALL
#includedir /etc/sudoers.d
";

/// Shows which instance one is on.
const PROMPT: &str = "\
# Only for people.
if [ -n \"$PS1\" ] && [ -r /var/vcap/instance/name ] && [ -r /var/vcap/instance/id ]; then
  PS1=\"$(cat /var/vcap/instance/name)/$(cat /var/vcap/instance/id):\\\\w\\\\\\$ \"
fi
";

pub(super) fn steps() -> Vec<Step> {
    let source = "source /etc/profile.d/00-bosh-ps1\n";
    let path = "export PATH=/var/vcap/bosh/bin:$PATH\n";
    vec![
        // syslog: upstream's agent gives it /var/log.
        run(
            "for group in admin adm audio cdrom dialout dip floppy plugdev sudo syslog video; do groupadd --force --system $group; done",
        ),
        run(
            "groupadd --force --gid 1000 vcap && groupadd --force bosh_sshers && groupadd --force bosh_sudoers",
        ),
        run(
            "useradd --create-home --comment 'BOSH System User' --uid 1000 --gid vcap --shell /bin/bash vcap",
        ),
        run(
            "usermod --append --groups admin,adm,audio,cdrom,dialout,floppy,video,bosh_sshers,dip,plugdev,sudo vcap",
        ),
        run("usermod --password '*' vcap && usermod --password '*' root"),
        directory("/home/vcap", 0o700, "vcap:vcap"),
        file("/etc/sudoers", 0o440, SUDOERS),
        run("visudo --check --quiet --file=/etc/sudoers"),
        append("/etc/pam.d/su", "auth required pam_wheel.so use_uid\n"),
        file("/etc/profile.d/00-bosh-ps1", 0o644, PROMPT),
        append("/root/.bashrc", format!("{path}{source}")),
        append("/home/vcap/.bashrc", format!("{path}{source}")),
        append("/etc/skel/.bashrc", source),
    ]
}
