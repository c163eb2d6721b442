//! A machine whose jobs and settings live in memory has lost them with a reboot, and must not come up as if it had not: the
//! agent refuses until the director makes the VM anew. Source: upstream agent/bootonce.

use std::path::Path;

use bosh_protocol::Settings;

use crate::platform::{Dirs, Error, files};

/// The file that says that an agent has run here.
const MARK: &str = "bootonce";

/// Whether the agent may go on; marks that it does. The mark beside the settings survives a reboot, the other does not.
pub fn may_start(settings: &Settings, dirs: &Dirs) -> Result<bool, Error> {
    if !settings.tmpfs_enabled() {
        return Ok(true);
    }
    let (lasting, passing) = (dirs.bosh().join(MARK), dirs.can_restart().join(MARK));
    if lasting.exists() && !passing.exists() {
        return Ok(false);
    }
    mark(&lasting)?;
    mark(&passing)?;
    Ok(true)
}

fn mark(path: &Path) -> Result<(), Error> {
    if let Some(dir) = path.parent() {
        files::mkdir(dir, 0o755)?;
    }
    std::fs::write(path, "").map_err(|e| Error::file("writing", path, e))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reboot_ends_a_machine_that_lives_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(dir.path());
        let settings = |tmpfs: bool| -> Settings {
            serde_json::from_value(json!({"env": {"bosh": {"job_dir": {"tmpfs": tmpfs}}}})).unwrap()
        };
        assert!(may_start(&settings(true), &dirs).unwrap());
        assert!(
            may_start(&settings(true), &dirs).unwrap(),
            "a restart of the agent"
        );
        std::fs::remove_dir_all(dirs.can_restart()).unwrap();
        assert!(!may_start(&settings(true), &dirs).unwrap(), "a reboot");
        assert!(
            !may_start(&settings(true), &dirs).unwrap(),
            "and ever after"
        );
        assert!(may_start(&settings(false), &dirs).unwrap());
    }
}
