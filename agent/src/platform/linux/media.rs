//! Files of disks and CDs that nobody has mounted: what settings are read from.
//! Upstream: platform/{disk/diskutil,cdrom/cdutil,cdrom/linux_cdrom,udevdevice/concrete_udev_device}.go.

use super::{Linux, mounts};
use crate::platform::{Error, files};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

const CDROM: &str = "/dev/sr0";
/// How often and how far apart a drive is tried until it has its medium.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });
/// The longest file. A wrong path could name a whole disk's content.
const MAX: u64 = 64 << 20;

impl Linux {
    pub(super) async fn read_from_disk(&self, disk: &Path, file: &str) -> Result<Vec<u8>, Error> {
        let device = self.dirs.system(&disk.to_string_lossy());
        if !device.exists() {
            return Err(Error::Device(format!(
                "Failed to get file contents, disk path '{}' does not exist",
                disk.display()
            )));
        }
        let point = files::beside(&self.dirs.bosh().join("diskutil"));
        let content = self.read_mounted(&device, &point, file).await;
        let removed = fs::remove_dir(&point);
        let content = content?;
        removed.map_err(|e| Error::file("removing", &point, e))?;
        Ok(content)
    }

    pub(super) async fn read_from_cdrom(&self, file: &str) -> Result<Vec<u8>, Error> {
        let device = self.dirs.system(CDROM);
        self.wait_for_media(&device).await?;
        let content = self
            .read_mounted(&device, &self.dirs.settings(), file)
            .await?;
        // Upstream would rather not boot; but the settings are here, and the CD is not asked for them again.
        if let Some(eject) = self.tool("eject")
            && let Err(error) = eject.arg("-v").arg(&device).run().await
        {
            tracing::warn!(%error, "cannot eject the CD");
        }
        Ok(content)
    }

    /// Reading makes the drive look at its medium, and udev makes what belongs to that.
    async fn wait_for_media(&self, device: &Path) -> Result<(), Error> {
        if let Err(error) = readable(device).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no CD in the drive yet"
            );
        }
        // A machine without udev has nothing to wait for.
        let udevadm = self.tool("udevadm").map(|udevadm| udevadm.arg("settle"));
        if let Some(settle) = udevadm.or_else(|| self.tool("udevsettle")) {
            let settled = settle.run().await;
            settled.map_err(|e| Error::command("Waiting for udev to settle", e))?;
        }
        readable(device).await
    }

    async fn read_mounted(
        &self,
        device: &Path,
        point: &Path,
        file: &str,
    ) -> Result<Vec<u8>, Error> {
        files::mkdir(point, 0o700)?;
        mounts::device(device, point, &["ro".to_owned()]).await?;
        let content = read(&point.join(file.trim_start_matches('/')));
        let unmounted = mounts::unmount(point).await;
        let content = content?;
        unmounted?;
        Ok(content)
    }
}

async fn readable(device: &Path) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        let first = fs::File::open(device).and_then(|mut file| file.read_exact(&mut [0]));
        match first {
            Ok(()) => return Ok(()),
            Err(e) if tries == TRIES => return Err(Error::file("reading", device, e)),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let wrap = |e| Error::file("reading", path, e);
    let mut content = Vec::new();
    let file = fs::File::open(path).map_err(wrap)?;
    file.take(MAX + 1).read_to_end(&mut content).map_err(wrap)?;
    if content.len() as u64 > MAX {
        return Err(Error::Invalid(format!(
            "{} is longer than {MAX} bytes",
            path.display()
        )));
    }
    Ok(content)
}
