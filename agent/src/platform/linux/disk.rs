//! Persistent disks: partitioned, formatted, mounted, migrated. Upstream: platform/linux_platform.go, platform/disk.

use super::{
    Linux,
    devices::Patience,
    filesystem,
    mounts::{self, Mounts},
    partition,
};
use crate::platform::{Error, command::Command, files};
use bosh_protocol::disk::DiskSettings;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The mode of mount points. Upstream: persistentDiskPermissions.
const MODE: u32 = 0o700;
/// Less than one of tar's records and the blocks that lead to it.
const FULL: u64 = 1 << 20;
/// More than any disk takes to be copied.
const COPY: Duration = Duration::from_secs(24 * 3600);

impl Linux {
    /// What of a disk is mounted: its first partition, or all of it where it comes formatted.
    fn mounted_part(&self, device: PathBuf) -> PathBuf {
        if self.options.use_preformatted_persistent_disk {
            device
        } else {
            partition::node(&device, 1)
        }
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
                if let Some(there) = filesystem::kind(&device).await? {
                    // A table would destroy it.
                    let device = device.display();
                    return Err(Error::Device(format!(
                        "{device} holds {there} and no partition: refusing to partition it"
                    )));
                }
                self.partition_whole(&device, partitioner).await?;
            }
            Some((_, partitions)) if partitions.is_empty() => {
                self.partition_whole(&device, partitioner).await?;
            }
            Some((_, partitions)) if partitions.len() > 1 => {
                let many = partitions.len();
                let text = format!(
                    "Persistent disks with many partitions are not supported. Expected 1, got {many}."
                );
                return Err(Error::Device(text));
            }
            Some((label, partitions)) => {
                let there = &partitions[0];
                let known = filesystem::kind(&first).await?;
                let room = partition::size(&device)?.saturating_sub(there.start);
                if matches!(known.as_deref(), Some("ext4" | "xfs"))
                    && there.size + partition::DELTA < label.limit(room)
                {
                    return self.grow(&device, &first, disk, point).await;
                }
            }
        }
        filesystem::make(&first, kind).await
    }

    async fn partition_whole(&self, device: &Path, partitioner: &str) -> Result<(), Error> {
        let label = partition::label_for(device, partitioner)?;
        let whole = partition::Wanted {
            name: "bosh-partition-0".to_owned(),
            size: None,
            swap: false,
        };
        partition::write_table(device, label, &[whole]).await?;
        if partition::is_mapped(device) {
            self.restart_storage_services().await?;
            partition::appear(&partition::node(device, 1)).await?;
        }
        Ok(())
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
            return filesystem::grow(first, &mounted.point.clone()).await;
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
        let grown = filesystem::grow(first, &point).await;
        mounts::unmount(&point).await?;
        match grown {
            // Some containers may not grow what is mounted; its journal has just been replayed.
            Err(error) if filesystem::kind(first).await?.as_deref() == Some("ext4") => {
                tracing::info!(%error, "cannot grow a mounted filesystem, trying it unmounted");
                filesystem::grow(first, &point).await
            }
            other => other,
        }
    }

    pub(super) async fn mount_persistent(
        &self,
        disk: &DiskSettings,
        point: &Path,
    ) -> Result<(), Error> {
        let source = self.mounted_part(self.device(disk, Patience::Wait).await?);
        let mounts = Mounts::read()?;
        if let Some(there) = mounts.of(&source).iter().find(|there| there.point == point) {
            // An agent that died while it copied the disk left it so.
            if there.is_read_only() && !disk.mount_options.iter().any(|option| option == "ro") {
                mounts::read_only(point, false).await?;
            }
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
        let Some(device) = self.find_device(disk, Patience::Now).await? else {
            return Ok(false);
        };
        let source = self.mounted_part(device);
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
        let Some(device) = self.find_device(disk, Patience::Now).await? else {
            tracing::debug!(disk = %disk.id, "a disk that cannot be found is not mounted");
            return Ok(false);
        };
        Ok(!Mounts::read()?.of(&self.mounted_part(device)).is_empty())
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
        let old = mounts.at(from).ok_or_else(|| missing(from))?.clone();
        mounts.at(to).ok_or_else(|| missing(to))?;

        // Nothing may change while it is copied.
        mounts::read_only(from, true).await?;
        if let Err(error) = self.copy_and_unmount(from, to).await {
            mounts::read_only(from, false).await?;
            return Err(error);
        }
        // A bind mount keeps the options that the new disk was mounted with.
        mounts::bind(to, from)?;
        mounts::unmount(to).await?;
        if self.options.device_path_resolution_type == "iscsi" {
            let name = Path::new(&old.source)
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix("-part1"));
            if let Some(name) = name {
                self.flush_multipath(name).await?;
            }
        }
        Ok(())
    }

    /// Copies with tar, which keeps holes, extended attributes and times.
    async fn copy_and_unmount(&self, from: &Path, to: &Path) -> Result<(), Error> {
        let copy = "set -o pipefail; tar -C \"$0\" --xattrs '--xattrs-include=*.*' --sparse -cf - . \
                    | tar -C \"$1\" --xattrs '--xattrs-include=*.*' -xpf -";
        let command = Command::new("bash")
            .args(["-c", copy])
            .arg(from)
            .arg(to)
            .timeout(COPY);
        command.run().await.map_err(|e| {
            // tar does not always say why it could not write.
            let full = is_full(to);
            let (from, to) = (from.display(), to.display());
            if full {
                tracing::warn!(error = %e, "copying a disk to one that is too small");
                return Error::Device(format!("copying {from} to {to}: No space left on device"));
            }
            Error::command(format!("copying {from} to {to}"), e)
        })?;
        mounts::unmount(from).await?;
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

/// Whether next to nothing can be written there any more.
fn is_full(point: &Path) -> bool {
    nix::sys::statvfs::statvfs(point)
        .is_ok_and(|s| s.blocks_free().saturating_mul(s.fragment_size()) < FULL)
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
