//! syslog and log rotation. Upstream: `rsyslog_config`, `logrotate_config`, `cron_config`.

use super::{directory, file, remove};
use crate::plan::Step;

const RSYSLOG: &str = "\
module(load=\"imuxsock\")
$FileOwner root
$FileGroup adm
$FileCreateMode 0640
$DirCreateMode 0755
$Umask 0022
$WorkDirectory /var/spool/rsyslog
$IncludeConfig /etc/rsyslog.d/*.conf
auth,authpriv.*                 /var/log/auth.log
*.*;auth,authpriv.none          -/var/log/syslog
";

const LOGROTATE: &str = "\
weekly
rotate 4
create
compress
include /etc/logrotate.d
";

const SYSTEM_LOGS: &str = "\
/var/log/syslog /var/log/auth.log /var/log/boot.log {
  size 10M
  rotate 3
  missingok
  notifempty
  compress
  postrotate
    service rsyslog reload || true
  endscript
}

/var/vcap/bosh/log/current {
  size 10M
  rotate 3
  missingok
  notifempty
  compress
  copytruncate
}
";

/// The agent runs it at boot, so that not all VMs of a machine rotate in the same minute.
const SETUP: &str = r#"#!/bin/bash
first=${firstMinute:-$((RANDOM % 15))}
echo "$first,$((first + 15)),$((first + 30)),$((first + 45)) * * * * root /usr/bin/logrotate-cron" >/etc/cron.d/logrotate
chmod 0600 /etc/cron.d/logrotate
touch /etc/cron.d
"#;

const ROTATE: &str = "\
#!/bin/sh
test -x /usr/sbin/logrotate || exit 0
exec nice -n 19 /usr/sbin/logrotate /etc/logrotate.conf
";

pub(super) fn steps() -> Vec<Step> {
    vec![
        file("/etc/rsyslog.conf", 0o644, RSYSLOG),
        directory("/etc/rsyslog.d", 0o755, "root:root"),
        directory("/var/spool/rsyslog", 0o755, "root:root"),
        file("/etc/logrotate.conf", 0o644, LOGROTATE),
        // These come with packages and would name the same files twice.
        remove("/etc/logrotate.d/rsyslog"),
        remove("/etc/logrotate.d/syslog"),
        file("/etc/logrotate.d/bosh-system", 0o644, SYSTEM_LOGS),
        remove("/etc/cron.daily/logrotate"),
        file("/usr/bin/logrotate-cron", 0o755, ROTATE),
        file("/var/vcap/bosh/bin/setup-logrotate.sh", 0o700, SETUP),
        file(
            "/etc/cron.d/logrotate",
            0o600,
            "0,15,30,45 * * * * root /usr/bin/logrotate-cron\n",
        ),
        // A stemcell's packages do not change; these would only keep VMs busy.
        remove("/etc/cron.daily/man-db"),
        remove("/etc/cron.weekly/man-db"),
        remove("/etc/cron.daily/apt-compat"),
        remove("/etc/cron.daily/dpkg"),
    ]
}
