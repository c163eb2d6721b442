//! Persistent disks: partitioned, formatted, mounted, migrated. Upstream: platform/linux_platform.go, platform/disk.

use super::{
    Linux,
    devices::Patience,
    mounts::{self, Mounts},
    partition,
};
use crate::platform::{Error, command::Command, files};
use bosh_protocol::disk::DiskSettings;
use nix::mount::MsFlags;
use std::path::{Path, PathBuf};

/// The mode of mount points. Upstream: persistentDiskPermissions.
const MODE: u32 = 0o700;

impl Linux {
    /// What of a disk is mounted: its first partition, or all of it where it comes formatted.
    async fn persistent(&self, disk: &DiskSettings, patience: Patience) -> Result<PathBuf, Error> {
        let device = self.device(disk, patience).await?;
        Ok(if self.options.use_preformatted_persistent_disk {
            device
        } else {
            partition::node(&device, 1)
        })
    }

    pub(super) async fn adjust_partitioning(
        &self,
        disk: &DiskSettings,
        point: &Path,
    ) -> Result<(), Error> {
        if self.options.use_preformatted_persistent_disk {
            return Ok(());
        }
        let kind = match disk.file_system_type.as_str() {
            "" | "ext4" => "ext4",
            "xfs" => "xfs",
            other => {
                return Err(Error::Invalid(format!(
                    "The filesystem type \"{other}\" is not supported"
                )));
            }
        };
        let device = self.device(disk, Patience::Wait).await?;
        let first = partition::node(&device, 1);
        let partitioner = if disk.partitioner.is_empty() {
            &self.options.partitioner_type
        } else {
            &disk.partitioner
        };
        match partition::table(&device).await? {
            None => {
                if let Some(there) = partition::filesystem(&device).await? {
                    // A table would destroy it.
                    let device = device.display();
                    return Err(Error::Device(format!(
                        "{device} holds {there} and no partition: refusing to partition it"
                    )));
                }
                self.partition_whole(&device, partitioner).await?;
            }
            Some((_, partitions)) if partitions.is_empty() => {
                self.partition_whole(&device, partitioner).await?
            }
            Some((_, partitions)) if partitions.len() > 1 => {
                let many = partitions.len();
                let text = format!(
                    "Persistent disks with many partitions are not supported. Expected 1, got {many}."
                );
                return Err(Error::Device(text));
            }
            Some((_, partitions)) => {
                let there = &partitions[0];
                let filesystem = partition::filesystem(&there.node).await?;
                let could_be = partition::size(&device)?.saturating_sub(there.start);
                if matches!(filesystem.as_deref(), Some("ext4" | "xfs"))
                    && there.size + partition::DELTA < could_be
                {
                    return self.grow(&device, &first, disk, point).await;
                }
            }
        }
        partition::format(&first, kind).await
    }

    async fn partition_whole(&self, device: &Path, partitioner: &str) -> Result<(), Error> {
        let gpt = partition::needs_gpt(device, partitioner)?;
        let whole = partition::Wanted {
            name: "bosh-partition-0".to_owned(),
            size: None,
            swap: false,
        };
        partition::write_table(device, gpt, &[whole]).await
    }

    async fn grow(
        &self,
        device: &Path,
        first: &Path,
        disk: &DiskSettings,
        point: &Path,
    ) -> Result<(), Error> {
        if let Some(mounted) = Mounts::read()?.of(first).first() {
            partition::grow(device).await?;
            return partition::grow_filesystem(first, &mounted.point.clone()).await;
        }
        partition::grow(device).await?;
        // xfs grows only while it is mounted. Another disk may be where this one belongs.
        let point = if Mounts::read()?.at(point).is_some() {
            self.dirs.store_migration()
        } else {
            point.to_owned()
        };
        files::mkdir(&point, MODE)?;
        mounts::device(first, &point, &disk.mount_options).await?;
        let grown = partition::grow_filesystem(first, &point).await;
        mounts::unmount(&point).await?;
        match grown {
            // Some containers may not grow what is mounted; its journal has just been replayed.
            Err(error) if partition::filesystem(first).await?.as_deref() == Some("ext4") => {
                tracing::info!(%error, "cannot grow a mounted filesystem, trying it unmounted");
                partition::grow_filesystem(first, &point).await
            }
            other => other,
        }
    }

    pub(super) async fn mount_persistent(
        &self,
        disk: &DiskSettings,
        point: &Path,
    ) -> Result<(), Error> {
        let source = self.persistent(disk, Patience::Wait).await?;
        let mounts = Mounts::read()?;
        if mounts.of(&source).iter().any(|mount| mount.point == point) {
            return self.remember_disk(disk);
        }
        let point = if mounts.at(point).is_some() {
            self.dirs.store_migration()
        } else {
            point.to_owned()
        };
        files::mkdir(&point, MODE)?;
        if self.options.bind_mount_persistent_disk {
            if !source.is_dir() {
                return Err(Error::Device(format!(
                    "the persistent disk {} is no directory",
                    source.display()
                )));
            }
            if !mounts.of(&source).iter().any(|mount| mount.point == point) {
                mounts::bind(&source, &point)?;
            }
        } else {
            mounts::device(&source, &point, &disk.mount_options).await?;
        }
        self.remember_disk(disk)
    }

    /// The next boot mounts it again. Upstream keeps the bare id in a file named .json.
    fn remember_disk(&self, disk: &DiskSettings) -> Result<(), Error> {
        files::write(
            &self.dirs.bosh().join("managed_disk_settings.json"),
            disk.id.as_str().as_bytes(),
            0o644,
        )
    }

    pub(super) async fn unmount_persistent(&self, disk: &DiskSettings) -> Result<bool, Error> {
        // A disk that has gone away is not mounted; one that the settings do not describe is a mistake.
        let source = match self.persistent(disk, Patience::Now).await {
            Ok(source) => source,
            Err(_)
                if !disk.path.is_empty()
                    || !disk.volume_id.is_empty()
                    || !disk.device_id.is_empty() =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let points: Vec<PathBuf> = Mounts::read()?
            .of(&source)
            .iter()
            .map(|mount| mount.point.clone())
            .collect();
        let mut any = false;
        for point in points.iter().rev() {
            any |= mounts::unmount(point).await?;
        }
        Ok(any)
    }

    pub(super) async fn persistent_is_mounted(&self, disk: &DiskSettings) -> Result<bool, Error> {
        match self.persistent(disk, Patience::Now).await {
            Ok(source) => Ok(!Mounts::read()?.of(&source).is_empty()),
            Err(error) => {
                tracing::debug!(disk = %disk.id, %error, "a disk that cannot be found is not mounted");
                Ok(false)
            }
        }
    }

    pub(super) async fn persistent_is_mountable(&self, disk: &DiskSettings) -> Result<bool, Error> {
        let device = self.device(disk, Patience::Wait).await?;
        if self.options.use_preformatted_persistent_disk {
            return Ok(device.exists());
        }
        Ok(partition::table(&device)
            .await?
            .is_some_and(|(_, partitions)| !partitions.is_empty()))
    }

    pub(super) async fn migrate(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let mounts = Mounts::read()?;
        let missing =
            |point: &Path| Error::Device(format!("there is no disk at {}", point.display()));
        mounts.at(from).ok_or_else(|| missing(from))?;
        let new = mounts.at(to).ok_or_else(|| missing(to))?.clone();

        // Nothing may change while it is copied.
        mounts::restrict(from, MsFlags::MS_RDONLY)?;
        let copy = "set -o pipefail; tar -C \"$0\" --xattrs '--xattrs-include=*.*' --sparse -cf - . \
                    | tar -C \"$1\" --xattrs '--xattrs-include=*.*' -xpf -";
        let hours = std::time::Duration::from_secs(24 * 3600);
        let copied = Command::new("bash")
            .args(["-c", copy])
            .arg(from)
            .arg(to)
            .timeout(hours)
            .run()
            .await;
        if let Err(error) = copied {
            mounts::restrict(from, MsFlags::empty())?;
            return Err(Error::command(
                format!("copying {} to {}", from.display(), to.display()),
                error,
            ));
        }
        mounts::unmount(from).await?;
        if self.options.bind_mount_persistent_disk {
            mounts::bind(to, from)?;
            mounts::unmount(to).await?;
        } else {
            mounts::unmount(to).await?;
            mounts::device(Path::new(&new.source), from, &[]).await?;
        }
        Ok(())
    }

    pub(super) async fn associate(&self, name: &str, disk: &DiskSettings) -> Result<(), Error> {
        link_name(name)?;
        let device = self.device(disk, Patience::Wait).await?;
        files::mkdir(&self.dirs.disks(), 0o755)?;
        files::symlink(&device, &self.dirs.disks().join(name))
    }

    pub(super) async fn dynamic(&self, disk: &DiskSettings) -> Result<(), Error> {
        link_name(disk.id.as_str())?;
        let device = self.device(disk, Patience::Wait).await?;
        files::symlink(&device, &self.dirs.dynamic_disks().join(disk.id.as_str()))
    }

    pub(super) fn forget_dynamic(&self, disk_cid: &str) -> Result<(), Error> {
        link_name(disk_cid)?;
        files::remove(&self.dirs.dynamic_disks().join(disk_cid))
    }
}

/// A name that comes from a manifest and becomes a file's.
fn link_name(name: &str) -> Result<(), Error> {
    let bad = name.is_empty()
        || name.starts_with('.')
        || name.contains('/')
        || name.chars().any(char::is_control);
    if bad {
        Err(Error::Invalid(format!("{name:?} cannot name a disk")))
    } else {
        Ok(())
    }
}
