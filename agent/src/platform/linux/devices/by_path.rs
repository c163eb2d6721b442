//! By the path the CPI says. Upstream: mapped_device_path_resolver.go.

use super::{Patience, existing, required, wait};
use crate::platform::{Error, linux::Linux};
use std::{path::PathBuf, time::Duration};

/// Upstream: provider.go.
const TIME: Duration = Duration::from_secs(30);
/// What the drivers of Xen, of KVM and of anything that is like a SCSI disk call their disks.
const PREFIXES: [&str; 3] = ["/dev/xvd", "/dev/vd", "/dev/sd"];

impl Linux {
    /// CPIs say /dev/sdb and mean the second disk, whatever the hypervisor's driver calls it.
    pub(super) async fn by_path(
        &self,
        path: &str,
        patience: Patience,
    ) -> Result<Option<PathBuf>, Error> {
        let path = required(path)?;
        let candidates: Vec<PathBuf> = match path.strip_prefix("/dev/sd") {
            Some(suffix) => PREFIXES
                .iter()
                .map(|prefix| self.dirs.system(&format!("{prefix}{suffix}")))
                .collect(),
            None => vec![self.dirs.system(path)],
        };
        let look = || candidates.iter().find_map(|path| existing(path));
        Ok(wait(patience.time(TIME), look).await)
    }
}
