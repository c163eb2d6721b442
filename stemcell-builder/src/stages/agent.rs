//! The agent, monit, and the agent's settings for a container. Upstream: `bosh_go_agent`, `bosh_monit`, `base_warden`.
//!
//! Our agent's binary is monit too, and yet there is a second copy of it: whoever puts upstream's agent over the first one still
//! has a monit and the command by which that agent reaches the blobstore.

use super::{file, link};
use crate::plan::Step;

/// Where the agent lives.
pub(super) const BINARY: &str = "/var/vcap/bosh/bin/bosh-agent";
/// Where monit lives.
pub(super) const MONIT: &str = "/var/vcap/bosh/bin/monit";
/// The agent's configuration.
pub(super) const CONFIG: &str = "/var/vcap/bosh/agent.json";

/// Disks are mounted by the CPI; settings come from the file that the warden, docker and local CPIs write.
const SETTINGS: &str = r#"{
  "Platform": {
    "Linux": {
      "UseDefaultTmpDir": true,
      "UsePreformattedPersistentDisk": true,
      "BindMountPersistentDisk": true,
      "SkipDiskSetup": true
    }
  },
  "Infrastructure": {
    "Settings": {
      "Sources": [
        {
          "Type": "File",
          "SettingsPath": "/var/vcap/bosh/warden-cpi-agent-env.json"
        }
      ],
      "UseRegistry": false
    }
  }
}
"#;

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step::Agent {
            path: BINARY.into(),
        },
        Step::Monit { path: MONIT.into() },
        link("/usr/bin/monit", MONIT),
        link("/var/vcap/bosh/bin/bosh-blobstore-dav", "monit"),
        file(CONFIG, 0o600, SETTINGS),
    ]
}
