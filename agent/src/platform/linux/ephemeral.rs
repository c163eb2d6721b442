//! The disk for /var/vcap/data, and swap; the rest of the root disk; raw disks for jobs.
//! Upstream: platform/linux_platform.go, platform/disk/{ephemeral,root}_device_partitioner.go.

use super::{
    Linux,
    devices::Patience,
    filesystem,
    mounts::{self, Mounts},
    partition::{self, Label, Partition, Wanted},
};
use crate::platform::{Error, command::Command, files};
use bosh_protocol::disk::DiskSettings;
use std::path::{Path, PathBuf};

/// Less is not worth a partition.
const MIN_ROOT_SPACE: u64 = 1 << 30;
const ALIGNMENT: u64 = 1 << 20;
/// GPT names have 36 characters, and a dash and two digits are added. Upstream cuts at the same length.
const LABEL: usize = 32;

impl Linux {
    pub(super) async fn ephemeral(
        &self,
        device: Option<&Path>,
        swap: Option<u64>,
        label: &str,
    ) -> Result<(), Error> {
        let point = self.dirs.data();
        // Jobs run as other users and have their files below it.
        files::mkdir(&point, 0o755)?;
        if self.options.skip_disk_setup {
            return Ok(());
        }
        let label: String = format!("bosh-partition-{label}")
            .chars()
            .take(LABEL)
            .collect();
        let (swap_node, data_node) = match device {
            Some(device) => self.partition_ephemeral(device, swap, &label).await?,
            None if self.options.create_partition_if_no_ephemeral_disk => {
                self.partition_root(swap, &label).await?
            }
            None => {
                let text = "No ephemeral disk found, cannot use root partition as ephemeral disk";
                return Err(Error::Device(text.to_owned()));
            }
        };
        if let Some(node) = swap_node {
            filesystem::make(&node, "swap").await?;
            self.swap_on(&node).await?;
        }
        filesystem::make(&data_node, "ext4").await?;
        mounts::device(&data_node, &point, &[]).await
    }

    async fn partition_ephemeral(
        &self,
        device: &Path,
        swap: Option<u64>,
        label: &str,
    ) -> Result<(Option<PathBuf>, PathBuf), Error> {
        let size = partition::size(device)?;
        let wanted = wanted(size, swap, label)?;
        let there = partition::table(device)
            .await?
            .map_or(Vec::new(), |(_, partitions)| partitions);
        let (label, same) = match self.options.partitioner_type.as_str() {
            "sfdisk" => (Label::Dos, same_kinds(&wanted, &there, size)),
            // By name: they carry the agent's id, so that a disk that has been another VM's is made anew.
            "" | "parted" => (Label::Gpt, same_names(&wanted, &there)),
            other => {
                return Err(Error::Invalid(format!(
                    "Unknown partitioner type '{other}'"
                )));
            }
        };
        if !same {
            partition::write_table(device, label, &wanted).await?;
        }
        Ok(nodes(&wanted, |n| partition::node(device, n), 1))
    }

    async fn partition_root(
        &self,
        swap: Option<u64>,
        label: &str,
    ) -> Result<(Option<PathBuf>, PathBuf), Error> {
        let (device, root) = root_device()?;
        partition_rest(&device, root, swap, label).await
    }

    async fn swap_on(&self, node: &Path) -> Result<(), Error> {
        let active = files::read(Path::new("/proc/swaps"))?.unwrap_or_default();
        let real = node.canonicalize().unwrap_or_else(|_| node.to_owned());
        let name = real.display().to_string();
        if active
            .lines()
            .skip(1)
            .any(|line| line.split_whitespace().next() == Some(name.as_str()))
        {
            return Ok(());
        }
        Command::new("swapon")
            .arg(&real)
            .run()
            .await
            .map_err(|e| Error::command(format!("swapping on {name}"), e))?;
        Ok(())
    }

    pub(super) async fn raw_ephemeral(&self, disks: &[DiskSettings]) -> Result<(), Error> {
        if self.options.skip_disk_setup || disks.is_empty() {
            return Ok(());
        }
        let devices = self.instance_storage(disks).await?;
        for (n, device) in devices.iter().enumerate() {
            let there = partition::table(device).await?;
            let done = there.is_some_and(|(label, partitions)| {
                label == Label::Gpt
                    && partitions
                        .iter()
                        .any(|p| p.name.starts_with("raw-ephemeral-"))
            });
            if !done {
                let whole = Wanted {
                    name: format!("raw-ephemeral-{n}"),
                    size: None,
                    swap: false,
                };
                partition::write_table(device, Label::Gpt, &[whole]).await?;
            }
        }
        Ok(())
    }

    /// The devices of raw disks. On NVMe the kernel numbers volumes and instance storage in one row, in any order: there it
    /// is what is not a volume.
    async fn instance_storage(&self, disks: &[DiskSettings]) -> Result<Vec<PathBuf>, Error> {
        let managed = &self.options.instance_storage_managed_volume_pattern;
        if managed.is_empty() || !disks.iter().any(|disk| disk.path.starts_with("/dev/nvme")) {
            let mut devices = Vec::new();
            for disk in disks {
                devices.push(self.device(disk, Patience::Wait).await?);
            }
            return Ok(devices);
        }
        let all = match self.options.instance_storage_device_pattern.as_str() {
            "" => "/dev/nvme*n1",
            pattern => pattern,
        };
        let found = self.matching(all)?;
        // The devices are there at once, the links that tell them apart are not.
        self.refresh_udev().await?;
        let mut volumes = Vec::new();
        for link in self.matching(managed)? {
            let device = link
                .canonicalize()
                .map_err(|e| Error::file("following", &link, e))?;
            volumes.push(device);
        }
        let found: Vec<PathBuf> = found
            .into_iter()
            .filter(|device| !volumes.contains(device))
            .collect();
        if found.len() != disks.len() {
            let (want, have) = (disks.len(), found.len());
            return Err(Error::Device(format!(
                "Expected {want} instance storage devices but discovered {have}: {found:?}"
            )));
        }
        Ok(found)
    }

    pub(super) async fn root_disk(&self, ephemeral: Option<&Path>) -> Result<(), Error> {
        if self.options.skip_disk_setup {
            return Ok(());
        }
        if ephemeral.is_none() && self.options.create_partition_if_no_ephemeral_disk {
            // What is left is the ephemeral disk's.
            return Ok(());
        }
        if !Command::exists("growpart") {
            tracing::info!("growpart is not installed: the root filesystem stays as it is");
            return Ok(());
        }
        let (device, root) = root_device()?;
        match Command::new("growpart")
            .arg(&device)
            .arg(root.to_string())
            .run()
            .await
        {
            Err(error) if error.output().contains("NOCHANGE") => {}
            other => drop(other.map_err(|e| Error::command("growing the root partition", e))?),
        }
        filesystem::grow(&partition::node(&device, root), Path::new("/")).await
    }
}

/// Makes partitions of what is left of the root disk, behind its root partition. Upstream: root_device_partitioner.go.
pub(super) async fn partition_rest(
    device: &Path,
    root: u32,
    swap: Option<u64>,
    name: &str,
) -> Result<(Option<PathBuf>, PathBuf), Error> {
    let (label, there) = partition::table(device)
        .await?
        .ok_or_else(|| Error::Device(format!("there are no partitions on {}", device.display())))?;
    let (before, rest): (Vec<Partition>, Vec<Partition>) =
        there.into_iter().partition(|p| p.number <= root);
    let end = before.iter().map(|p| p.start + p.size).max().unwrap_or(0);
    let size = label.limit(partition::size(device)?);
    let free = size.saturating_sub(end.next_multiple_of(ALIGNMENT));
    if free < MIN_ROOT_SPACE {
        return Err(Error::Device(format!(
            "Insufficient remaining disk space ({free}B) for ephemeral partition (min: {MIN_ROOT_SPACE}B)"
        )));
    }
    let wanted = wanted(free, swap, name)?;
    // Made by an earlier boot, ours or upstream's.
    if rest.len() != wanted.len() {
        if !rest.is_empty() {
            let (device, many) = (device.display(), rest.len());
            return Err(Error::Device(format!(
                "{device} has {many} more partitions than expected"
            )));
        }
        partition::append(device, label, &wanted).await?;
    }
    Ok(nodes(&wanted, |n| partition::node(device, n), root + 1))
}

fn same_names(wanted: &[Wanted], there: &[Partition]) -> bool {
    there.len() >= wanted.len() && wanted.iter().zip(there).all(|(w, t)| t.name == w.name)
}

/// An MBR has no names: by the types and the sizes. Upstream: sfdisk_partitioner.go.
fn same_kinds(wanted: &[Wanted], there: &[Partition], size: u64) -> bool {
    let mut left = size;
    there.len() >= wanted.len()
        && wanted.iter().zip(there).all(|(w, t)| {
            let size = w.size.unwrap_or(left);
            left = left.saturating_sub(size);
            t.kind == if w.swap { "82" } else { "83" } && t.size.abs_diff(size) <= partition::DELTA
        })
}

/// Swap and data, or data alone.
fn wanted(available: u64, swap: Option<u64>, label: &str) -> Result<Vec<Wanted>, Error> {
    let swap = swap.unwrap_or(memory()?.min(available / 2));
    if swap >= available {
        return Err(Error::Device(format!(
            "{swap} bytes of swap do not fit on a disk of {available} bytes"
        )));
    }
    let mut all = Vec::new();
    // Less than the alignment rounds to nothing.
    if swap >= ALIGNMENT {
        all.push(Wanted {
            name: format!("{label}-0"),
            size: Some(swap),
            swap: true,
        });
    }
    all.push(Wanted {
        name: format!("{label}-{}", all.len()),
        size: None,
        swap: false,
    });
    Ok(all)
}

fn nodes(
    wanted: &[Wanted],
    node: impl Fn(u32) -> PathBuf,
    first: u32,
) -> (Option<PathBuf>, PathBuf) {
    if wanted[0].swap {
        (Some(node(first)), node(first + 1))
    } else {
        (None, node(first))
    }
}

fn memory() -> Result<u64, Error> {
    let path = Path::new("/proc/meminfo");
    let text = files::read(path)?.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| Error::Device("cannot tell how much memory there is".to_owned()))
}

/// The disk that the root filesystem is on, and the number of its partition.
fn root_device() -> Result<(PathBuf, u32), Error> {
    let mounts = Mounts::read()?;
    let root = mounts
        .at(Path::new("/"))
        .ok_or_else(|| Error::Device("nothing is mounted at /".to_owned()))?;
    let source = Path::new(&root.source);
    let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    split_partition(&source).ok_or_else(|| {
        Error::Device(format!(
            "Root partition has an invalid name {}",
            source.display()
        ))
    })
}

/// /dev/sda1 is the first partition of /dev/sda, /dev/nvme0n1p1 of /dev/nvme0n1. What else a root filesystem may lie on,
/// /dev/dm-0 or /dev/md1, is no partition.
fn split_partition(node: &Path) -> Option<(PathBuf, u32)> {
    let text = node.to_str()?;
    let name = text.strip_prefix("/dev/")?;
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[digits.len()..].parse().ok()?;
    let letters = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase());
    let device = match digits.strip_suffix('p') {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_digit()) => stem,
        _ if letters(digits) && !["md", "loop", "ram", "zram"].contains(&digits) => digits,
        _ => return None,
    };
    Some((Path::new("/dev").join(device), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_split_into_disk_and_number() {
        let split =
            |node| split_partition(Path::new(node)).map(|(d, n)| (d.display().to_string(), n));
        assert_eq!(split("/dev/sda1"), Some(("/dev/sda".into(), 1)));
        assert_eq!(split("/dev/nvme0n1p12"), Some(("/dev/nvme0n1".into(), 12)));
        assert_eq!(split("/dev/mmcblk0p2"), Some(("/dev/mmcblk0".into(), 2)));
        for other in ["/dev/vda", "/dev/dm-0", "/dev/md1", "/dev/mapper/root1"] {
            assert_eq!(split(other), None, "{other}");
        }
        assert_eq!(split("overlay"), None);
    }

    #[test]
    fn swap_takes_what_is_asked_or_half_at_most() {
        let sizes = |available, swap| -> Vec<_> {
            wanted(available, swap, "l")
                .unwrap()
                .iter()
                .map(|w| (w.name.clone(), w.size, w.swap))
                .collect()
        };
        assert_eq!(sizes(1 << 30, Some(0)), [("l-0".into(), None, false)]);
        assert_eq!(
            sizes(1 << 30, Some(1 << 20)),
            [
                ("l-0".into(), Some(1 << 20), true),
                ("l-1".into(), None, false)
            ]
        );
        assert_eq!(sizes(4 << 20, None)[0].1, Some(2 << 20));
        assert!(wanted(1 << 20, Some(1 << 20), "l").is_err());
    }
}
