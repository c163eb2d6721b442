//! The agent, which is monit too, and its settings for a container. Upstream: `bosh_go_agent`, `base_warden`.

use super::{file, link};
use crate::plan::Step;

/// Where the agent lives.
pub(super) const BINARY: &str = "/var/vcap/bosh/bin/bosh-agent";
/// Its configuration.
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
        link("/var/vcap/bosh/bin/monit", "bosh-agent"),
        link("/usr/bin/monit", BINARY),
        file(CONFIG, 0o600, SETTINGS),
    ]
}
