//! By what SCSI says about a disk. Upstream: scsi_{id,volume_id,lun}_device_path_resolver.go.

use super::{Patience, existing, list, wait};
use crate::platform::{Error, linux::Linux};
use bosh_protocol::disk::DiskSettings;
use std::{fs, path::PathBuf, time::Duration};

/// Upstream: provider.go.
const BY_ID: Duration = Duration::from_secs(50);
/// Upstream: thirty tries, half a second apart.
const BY_TARGET: Duration = Duration::from_secs(15);
const BY_LUN: Duration = Duration::from_secs(50);
const DEVICES: &str = "/sys/bus/scsi/devices";

impl Linux {
    pub(super) async fn by_scsi(
        &self,
        disk: &DiskSettings,
        patience: Patience,
    ) -> Result<Option<PathBuf>, Error> {
        if !disk.device_id.is_empty() {
            self.rescan(None)?;
            let suffix = disk.device_id.replace('-', "");
            let look = || {
                let found = self.linked_by_id(|name| name.ends_with(&suffix));
                found.into_iter().next()
            };
            return Ok(wait(patience.time(BY_ID), look).await);
        }
        if !disk.volume_id.is_empty() {
            return self.by_target(&disk.volume_id, patience).await;
        }
        if !disk.lun.is_empty() && !disk.host_device_id.is_empty() {
            self.rescan(None)?;
            let controller = self.vmbus_device(&disk.host_device_id).ok_or_else(|| {
                Error::Device(format!(
                    "there is no controller with the host_device_id '{}'",
                    disk.host_device_id
                ))
            })?;
            let look = || self.by_lun(&disk.lun, &controller);
            return Ok(wait(patience.time(BY_LUN), look).await);
        }
        Err(Error::Device(
            "the disk has neither id nor volume_id nor lun and host_device_id".to_owned(),
        ))
    }

    /// By the target number on the SCSI host of the root disk.
    async fn by_target(&self, target: &str, patience: Patience) -> Result<Option<PathBuf>, Error> {
        let devices = self.dirs.system(DEVICES);
        let is_disk = |name: &str| {
            let blocks = list(&devices.join(name).join("block"));
            blocks.iter().any(|block| block.starts_with("sd"))
        };
        let host = list(&devices)
            .into_iter()
            .rev()
            .find_map(|name| {
                let host = name.strip_suffix(":0:0:0")?;
                is_disk(&name).then(|| host.to_owned())
            })
            .ok_or_else(|| Error::Device("there is no SCSI host with a disk".to_owned()))?;
        self.rescan(Some(&host))?;
        let block = devices.join(format!("{host}:0:{target}:0/block"));
        let look = || {
            let name = list(&block).into_iter().next()?;
            existing(&self.dirs.system("/dev").join(name))
        };
        Ok(wait(patience.time(BY_TARGET), look).await)
    }

    /// By logical unit, on a controller of Hyper-V's bus.
    fn by_lun(&self, lun: &str, controller: &str) -> Option<PathBuf> {
        let suffix = format!(":{lun}");
        let devices = self.dirs.system(DEVICES);
        let names = list(&devices)
            .into_iter()
            .filter(|name| name.ends_with(&suffix));
        names
            .flat_map(|name| list(&devices.join(name).join("block")))
            .find_map(|block| {
                let class = self.dirs.system("/sys/class/block").join(&block);
                let place = fs::canonicalize(class).ok()?;
                let mut parts = place.components();
                parts
                    .any(|part| part.as_os_str() == controller)
                    .then_some(())?;
                existing(&self.dirs.system("/dev").join(block))
            })
    }

    fn vmbus_device(&self, id: &str) -> Option<String> {
        let dir = self.dirs.system("/sys/bus/vmbus/devices");
        list(&dir).into_iter().find(|name| {
            let text = fs::read_to_string(dir.join(name).join("device_id"));
            text.is_ok_and(|text| text.trim() == id)
        })
    }

    /// Has one SCSI host, or each, look for new disks.
    fn rescan(&self, host: Option<&str>) -> Result<(), Error> {
        let hosts = self.dirs.system("/sys/class/scsi_host");
        for name in list(&hosts) {
            if host.is_none_or(|host| name == format!("host{host}")) {
                let path = hosts.join(name).join("scan");
                fs::write(&path, "- - -")
                    .map_err(|e| Error::file("asking for new disks at", &path, e))?;
            }
        }
        Ok(())
    }
}
