//! What is behind a disk: `data/` or `disk.img` in its directory.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::has_loop_devices;
use crate::Error;
use crate::command::Command;
use crate::config::DiskBackend;
use crate::error::Context;
use crate::store::DiskKind;

/// Copying or checking a large disk takes long.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What is behind a disk whose directory is `dir`.
pub(crate) fn path(dir: &Path, kind: DiskKind) -> PathBuf {
    match kind {
        DiskKind::Directory => dir.join("data"),
        DiskKind::Image => dir.join("disk.img"),
    }
}

/// Makes an empty disk of `size` MiB in `dir`.
pub(crate) fn create(dir: &Path, size: u64, backend: DiskBackend) -> Result<DiskKind, Error> {
    let kind = match backend {
        DiskBackend::Image => DiskKind::Image,
        DiskBackend::Directory => DiskKind::Directory,
        DiskBackend::Auto if has_loop_devices() => DiskKind::Image,
        DiskBackend::Auto => DiskKind::Directory,
    };
    let target = path(dir, kind);
    match kind {
        DiskKind::Directory => {
            fs::create_dir(&target).context(|| format!("could not make '{}'", target.display()))?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
                .context(|| format!("could not set the mode of '{}'", target.display()))?;
        }
        DiskKind::Image => format_image(&target, size)?,
    }
    Ok(kind)
}

/// Makes a sparse file of `size` MiB with an empty ext4 in it.
pub(crate) fn format_image(image: &Path, size: u64) -> Result<(), Error> {
    let made = set_size(image, size).and_then(|()| {
        Command::new("mkfs.ext4")
            .args([
                "-q",
                "-F",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
            ])
            .arg(image)
            .run()
            .map_err(Error::from)
    });
    if made.is_err() {
        // Half an image must not be taken for a whole one.
        let _ = fs::remove_file(image);
    }
    made.map(drop)
}

fn set_size(image: &Path, size: u64) -> Result<(), Error> {
    let operation = || format!("could not make '{}' {size} MiB large", image.display());
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(image)
        .context(operation)?;
    file.set_len(size << 20).context(operation)
}

/// Makes a disk that is not mounted anywhere larger.
pub(crate) fn grow(dir: &Path, kind: DiskKind, size: u64) -> Result<(), Error> {
    if kind == DiskKind::Directory {
        return Ok(());
    }
    let image = path(dir, kind);
    set_size(&image, size)?;
    Command::new("e2fsck")
        .args(["-f", "-p"])
        .arg(&image)
        .deadline(PATIENCE)
        .run()?;
    Command::new("resize2fs")
        .arg(&image)
        .deadline(PATIENCE)
        .run()?;
    Ok(())
}

/// Copies what is behind a disk into another directory, holes as holes, shared blocks where the file system can.
pub(crate) fn copy(from: &Path, to: &Path, kind: DiskKind) -> Result<(), Error> {
    Command::new("cp")
        .args(["--archive", "--sparse=always", "--reflink=auto"])
        .arg(path(from, kind))
        .arg(path(to, kind))
        .deadline(PATIENCE)
        .run()?;
    Ok(())
}
