//! Filesystems and swap: what is there, making them, growing them. Upstream: platform/disk/linux_formatter.go.

use crate::platform::{Error, command::Command};
use std::path::Path;

/// What is on a device: `ext4`, `xfs`, `swap`; `None` if nothing is recognised.
pub(super) async fn kind(device: &Path) -> Result<Option<String>, Error> {
    // TYPE is what is in it, PTTYPE a partition table.
    let command = Command::new("blkid")
        .args(["-p", "-s", "TYPE", "-o", "value"])
        .arg(device);
    match command.run().await {
        Ok(output) => Ok(Some(output.stdout.trim().to_owned()).filter(|kind| !kind.is_empty())),
        Err(error) if error.code() == Some(2) && error.output().trim().is_empty() => Ok(None),
        Err(error) => Err(Error::command(
            format!("looking at {}", device.display()),
            error,
        )),
    }
}

/// Makes a filesystem (`ext4`, `xfs`) or `swap` on a device; never over an ext4 or xfs that is there.
pub(super) async fn make(device: &Path, wanted: &str) -> Result<(), Error> {
    let there = kind(device).await?;
    match (wanted, there.as_deref()) {
        ("swap", Some("swap")) => return Ok(()),
        ("swap", _) => {}
        (_, Some("ext4" | "xfs")) => return Ok(()),
        _ => {}
    }
    let make = || match wanted {
        "swap" => Command::new("mkswap").arg(device),
        "xfs" => Command::new("mkfs.xfs").arg("-f").arg(device),
        _ => {
            let lazy = Path::new("/sys/fs/ext4/features/lazy_itable_init").exists();
            let command = Command::new("mke2fs").args(["-F", "-t", "ext4", "-j"]);
            if lazy {
                command.args(["-E", "lazy_itable_init=1"])
            } else {
                command
            }
            .arg(device)
        }
    };
    let wrap = |e| Error::command(format!("making {wanted} on {}", device.display()), e);
    match make().run().await {
        Err(error) if error.output().contains("apparently in use by the system") => {
            make().run().await.map_err(wrap)?
        }
        other => other.map_err(wrap)?,
    };
    Ok(())
}

/// Makes a mounted filesystem as large as its device.
pub(super) async fn grow(device: &Path, point: &Path) -> Result<(), Error> {
    let command = match kind(device).await?.as_deref() {
        Some("ext4") => Command::new("resize2fs").arg("-f").arg(device),
        Some("xfs") => Command::new("xfs_growfs").arg(point),
        _ => return Ok(()),
    };
    command.run().await.map_err(|e| {
        Error::command(format!("growing the filesystem on {}", device.display()), e)
    })?;
    Ok(())
}
