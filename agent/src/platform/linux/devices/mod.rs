//! From what a CPI says about a disk to the device it is here. Upstream: infrastructure/devicepathresolver,
//! platform/provider.go.
//!
//! | `DevicePathResolutionType` | how | where |
//! |---|---|---|
//! | `virtio` | by its id, else by its path, whatever the hypervisor's driver calls it | `by_id`, `by_path` |
//! | `scsi` | by its device id, else by its target on the root disk's host, else by LUN and controller | `scsi` |
//! | `iscsi` | by its path, else by logging in at its portal; several paths to it are one device | `iscsi` |
//! | anything else | its path | |
//!
//! With `LunDeviceSymlinkPath`, a link that is named like its LUN comes before any of these.

mod by_id;
mod by_path;
mod iscsi;
mod scsi;

pub(super) use iscsi::Recent;

use super::Linux;
use crate::platform::{Error, command::Command, glob::Glob};
use bosh_protocol::disk::DiskSettings;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_millis(100);
/// How long a link named like a LUN may take. Upstream: provider.go.
const BY_LUN_LINK: Duration = Duration::from_secs(50);

/// Whether to wait for a disk that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It has just been attached.
    Wait,
    /// What is not there now is not there.
    Now,
}

impl Patience {
    fn time(self, most: Duration) -> Duration {
        match self {
            Self::Wait => most,
            Self::Now => Duration::ZERO,
        }
    }
}

impl Linux {
    /// The device (or the directory, where disks are directories) of a disk.
    pub(super) async fn device(
        &self,
        disk: &DiskSettings,
        patience: Patience,
    ) -> Result<PathBuf, Error> {
        self.find_device(disk, patience).await?.ok_or_else(|| {
            let names = [
                disk.id.as_str(),
                &disk.path,
                &disk.device_id,
                &disk.volume_id,
                &disk.lun,
            ];
            let name = names.iter().find(|name| !name.is_empty());
            Error::Device(format!(
                "Timed out getting real device path for {}",
                name.unwrap_or(&"a disk without a name")
            ))
        })
    }

    /// The same; `None` if the settings are fine and there is no such device now. An error is what waiting does not mend.
    pub(super) async fn find_device(
        &self,
        disk: &DiskSettings,
        patience: Patience,
    ) -> Result<Option<PathBuf>, Error> {
        let links = &self.options.lun_device_symlink_path;
        if !links.is_empty() && !disk.lun.is_empty() {
            let link = self.dirs.system(links).join(&disk.lun);
            let time = patience.time(BY_LUN_LINK);
            if let Some(found) = wait(time, || existing(&link)).await {
                return Ok(Some(found));
            }
        }
        match self.options.device_path_resolution_type.as_str() {
            "virtio" => {
                match self.by_disk_id(disk, patience).await {
                    Ok(Some(found)) => return Ok(Some(found)),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(disk = %disk.id, %error, "cannot find a disk by its id");
                    }
                }
                self.by_path(&disk.path, patience).await
            }
            "scsi" => self.by_scsi(disk, patience).await,
            "iscsi" if disk.path.is_empty() => self.by_iscsi(disk, patience).await,
            _ => required(&disk.path).map(|path| Some(target(Path::new(path)))),
        }
    }

    /// Has udev look at the devices again, and waits until it has made their links.
    pub(super) async fn refresh_udev(&self) -> Result<(), Error> {
        if !self.dirs.is_machine() || !Command::exists("udevadm") {
            return Ok(());
        }
        for action in ["trigger", "settle"] {
            let command = Command::new("udevadm")
                .arg(action)
                .timeout(Duration::from_secs(180));
            command
                .run()
                .await
                .map_err(|e| Error::command(format!("waiting for udev: {action}"), e))?;
        }
        Ok(())
    }

    /// What a glob, whose last part alone may have wildcards, matches on this machine.
    pub(super) fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, Error> {
        let refused = || Error::Invalid(format!("'{pattern}' is no pattern of devices"));
        let (dir, name) = pattern.rsplit_once('/').ok_or_else(refused)?;
        let glob = Glob::new(name).ok_or_else(refused)?;
        let dir = self.dirs.system(dir);
        let names = list(&dir).into_iter();
        Ok(names
            .filter(|name| glob.matches(Path::new(name)))
            .map(|name| dir.join(name))
            .collect())
    }
}

fn required(path: &str) -> Result<&str, Error> {
    if path.is_empty() {
        return Err(Error::Device(
            "Getting real device path: path is missing".to_owned(),
        ));
    }
    Ok(path)
}

/// Looks again and again until there is something or the time is up; at least once.
async fn wait(time: Duration, mut look: impl FnMut() -> Option<PathBuf>) -> Option<PathBuf> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What a path leads to, if it is there.
fn existing(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// Partitions are named after the device, not after a link to it.
fn target(path: &Path) -> PathBuf {
    if path.is_symlink() {
        existing(path).unwrap_or_else(|| path.to_owned())
    } else {
        path.to_owned()
    }
}

/// The names in a directory, sorted; none if it is not there.
fn list(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
