//! The directories under /var/vcap and what the agent and releases look up in them. Upstream: `bosh_monit`,
//! `system_parameters`, `base_warden`.

use super::{directory, file};
use crate::plan::Step;
use crate::recipe::Recipe;

/// What upstream's monit is started with. Our agent has the supervisor in it; scripts still look here for the port.
const MONITRC: &str = "\
set daemon 10
set logfile /var/vcap/monit/monit.log
set httpd port 2822 and use address 127.0.0.1
  allow cleartext /var/vcap/monit/monit.user
include /var/vcap/monit/*.monitrc
include /var/vcap/monit/job/*.monitrc
";

pub(super) fn steps(recipe: &Recipe) -> Vec<Step> {
    let root = "root:root";
    let mut steps = vec![
        directory("/var/vcap", 0o755, root),
        directory("/var/vcap/bosh", 0o700, root),
        directory("/var/vcap/bosh/bin", 0o755, root),
        directory("/var/vcap/bosh/etc", 0o755, root),
        directory("/var/vcap/bosh/log", 0o755, root),
        directory("/var/vcap/data", 0o755, root),
        directory("/var/vcap/store", 0o755, root),
        directory("/var/vcap/monit", 0o755, root),
        directory("/var/vcap/monit/job", 0o755, root),
        directory("/var/vcap/micro_bosh/data/cache", 0o755, root),
        // Where container CPIs show disks.
        directory("/warden-cpi-dev", 0o755, root),
        file("/var/vcap/bosh/etc/monitrc", 0o700, MONITRC),
        file("/var/vcap/monit/empty.monitrc", 0o600, ""),
    ];
    // Upstream writes these without a newline, and scripts compare them.
    for (name, text) in [
        ("infrastructure", recipe.infrastructure.name()),
        ("operating_system", recipe.os.distribution()),
        ("stemcell_version", recipe.version.as_str()),
    ] {
        steps.push(file(&format!("/var/vcap/bosh/etc/{name}"), 0o644, text));
    }
    steps
}
