//! From what a CPI says about a disk to the device it is here. Upstream: infrastructure/devicepathresolver.

use super::Linux;
use crate::platform::{Error, command::Command};
use bosh_protocol::disk::DiskSettings;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_millis(100);
/// How long a disk may take to appear; upstream's times.
const BY_ID: Duration = Duration::from_millis(500);
const BY_PATH: Duration = Duration::from_secs(30);
const BY_SCSI: Duration = Duration::from_secs(50);

/// Whether to wait for a disk that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// It has just been attached.
    Wait,
    /// What is not there now is not there.
    Now,
}

impl Linux {
    /// The device (or the directory, where disks are directories) of a disk.
    pub(super) async fn device(
        &self,
        disk: &DiskSettings,
        patience: Patience,
    ) -> Result<PathBuf, Error> {
        let time = |most: Duration| {
            if patience == Patience::Now {
                Duration::ZERO
            } else {
                most
            }
        };
        let links = &self.options.lun_device_symlink_path;
        if !links.is_empty() && !disk.lun.is_empty() {
            let link = Path::new(links).join(&disk.lun);
            if let Ok(found) = wait(time(BY_SCSI), &format!("LUN {}", disk.lun), || {
                existing(&link)
            })
            .await
            {
                return Ok(found);
            }
        }
        match self.options.device_path_resolution_type.as_str() {
            "virtio" => {
                if let Ok(found) = self.by_disk_id(disk, time(BY_ID)).await {
                    return Ok(found);
                }
                let path = required(&disk.path)?;
                wait(time(BY_PATH), &disk.path, || renamed_by_kernel(path)).await
            }
            "scsi" if !disk.device_id.is_empty() => {
                rescan("*");
                let suffix = disk.device_id.replace('-', "");
                wait(time(BY_SCSI), &disk.device_id, || {
                    by_id(|name| name.ends_with(&suffix)).into_iter().next()
                })
                .await
            }
            "scsi" if !disk.volume_id.is_empty() => {
                self.by_scsi_target(&disk.volume_id, time(BY_PATH)).await
            }
            "scsi" if !disk.lun.is_empty() && !disk.host_device_id.is_empty() => {
                rescan("*");
                let controller = vmbus_device(&disk.host_device_id).ok_or_else(|| {
                    Error::Device(format!(
                        "there is no controller with the host_device_id '{}'",
                        disk.host_device_id
                    ))
                })?;
                wait(time(BY_SCSI), &format!("LUN {}", disk.lun), || {
                    by_lun(&disk.lun, &controller)
                })
                .await
            }
            "scsi" => Err(Error::Device(
                "the disk has neither id nor volume_id nor lun and host_device_id".to_owned(),
            )),
            "iscsi" => Err(Error::Device("iSCSI disks are not supported".to_owned())),
            _ => required(&disk.path).map(PathBuf::from),
        }
    }

    /// By the id the CPI chose, which hypervisors show as the disk's serial number.
    async fn by_disk_id(&self, disk: &DiskSettings, time: Duration) -> Result<PathBuf, Error> {
        let id = disk.id.as_str();
        if id.len() < 20 {
            return Err(Error::Device(format!(
                "'{id}' is too short for a disk's id"
            )));
        }
        for action in ["trigger", "settle"] {
            if self.dirs.is_machine() && Command::exists("udevadm") {
                let command = Command::new("udevadm")
                    .arg(action)
                    .timeout(Duration::from_secs(120));
                command
                    .run()
                    .await
                    .map_err(|e| Error::command(format!("waiting for udev: {action}"), e))?;
            }
        }
        let pattern = &self.options.disk_id_transform_pattern;
        if pattern.is_empty() {
            return wait(time, id, || only(by_id(|name| name.ends_with(id)))).await;
        }
        let regex = regex_lite::Regex::new(pattern).map_err(|e| {
            Error::Invalid(format!(
                "DiskIDTransformPattern is no regular expression: {e}"
            ))
        })?;
        let name = regex
            .replace_all(id, self.options.disk_id_transform_replacement.as_str())
            .into_owned();
        wait(time, id, || only(by_id(|there| there == name))).await
    }

    /// By the target number on the SCSI host of the root disk.
    async fn by_scsi_target(&self, target: &str, time: Duration) -> Result<PathBuf, Error> {
        let host = list("/sys/bus/scsi/devices")
            .into_iter()
            .rev()
            .find_map(|name| {
                let host = name.strip_suffix(":0:0:0")?;
                let disks = list(&format!("/sys/bus/scsi/devices/{name}/block"));
                disks
                    .iter()
                    .any(|disk| disk.starts_with("sd"))
                    .then(|| host.to_owned())
            })
            .ok_or_else(|| Error::Device("there is no SCSI host with a disk".to_owned()))?;
        rescan(&host);
        let block = format!("/sys/bus/scsi/devices/{host}:0:{target}:0/block");
        wait(time, &format!("SCSI target {target}"), || {
            list(&block)
                .into_iter()
                .next()
                .map(|name| Path::new("/dev").join(name))
        })
        .await
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
async fn wait(
    time: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<PathBuf>,
) -> Result<PathBuf, Error> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Error::Device(format!(
                "Timed out getting real device path for {what}"
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn existing(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// CPIs say /dev/sdb and mean the second disk, whatever the hypervisor's driver calls it.
fn renamed_by_kernel(path: &str) -> Option<PathBuf> {
    match path.strip_prefix("/dev/sd") {
        Some(suffix) => ["/dev/xvd", "/dev/vd", "/dev/sd"]
            .iter()
            .map(|prefix| PathBuf::from(format!("{prefix}{suffix}")))
            .find(|path| path.exists()),
        None => existing(Path::new(path)),
    }
}

fn by_id(matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let dir = "/dev/disk/by-id";
    let names = list(dir).into_iter().filter(|name| matches(name));
    names
        .filter_map(|name| existing(&Path::new(dir).join(name)))
        .collect()
}

/// More than one match is as good as none: which is it?
fn only(found: Vec<PathBuf>) -> Option<PathBuf> {
    let mut found = found;
    found.dedup();
    if found.len() == 1 { found.pop() } else { None }
}

fn rescan(host: &str) {
    for name in list("/sys/class/scsi_host") {
        if host == "*" || name == format!("host{host}") {
            let path = format!("/sys/class/scsi_host/{name}/scan");
            if let Err(error) = fs::write(&path, "- - -") {
                tracing::warn!(path, %error, "cannot look for new SCSI disks");
            }
        }
    }
}

fn vmbus_device(id: &str) -> Option<String> {
    let dir = "/sys/bus/vmbus/devices";
    list(dir).into_iter().find(|name| {
        fs::read_to_string(format!("{dir}/{name}/device_id")).is_ok_and(|text| text.trim() == id)
    })
}

fn by_lun(lun: &str, controller: &str) -> Option<PathBuf> {
    let suffix = format!(":{lun}");
    let devices = list("/sys/bus/scsi/devices")
        .into_iter()
        .filter(|name| name.ends_with(&suffix));
    devices
        .flat_map(|device| list(&format!("/sys/bus/scsi/devices/{device}/block")))
        .find_map(|block| {
            let place = fs::canonicalize(format!("/sys/class/block/{block}")).ok()?;
            place
                .components()
                .any(|part| part.as_os_str() == controller)
                .then_some(())?;
            existing(&Path::new("/dev").join(block))
        })
}

fn list(dir: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}
