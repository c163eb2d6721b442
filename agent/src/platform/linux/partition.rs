//! Partition tables and filesystems.
//!
//! One program, sfdisk, does what upstream spreads over sfdisk, parted and growpart: it has known GPT, names and growing
//! for years, and prints what it finds as JSON. The result on the disk is upstream's: a persistent disk has one partition
//! in an MBR, in a GPT if it is larger than 2 TiB. Upstream: platform/disk/*_partitioner.go, linux_formatter.go.

use crate::platform::{Error, command::Command};
use serde::Deserialize;
use std::{
    fs,
    io::{Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

/// Beyond this an MBR cannot address.
const MBR_LIMIT: u64 = 2 << 40;
/// How much of a disk alignment and tables may take. Upstream: deltaSize.
pub(super) const DELTA: u64 = 100 << 20;
const MIB: u64 = 1 << 20;
/// How often a program is tried again while the kernel still holds the device. Upstream: sfdisk_partition_strategy.go.
const TRIES: u32 = 20;

/// One partition that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) node: PathBuf,
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) name: String,
}

/// A partition to make; the last one may take what is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// In bytes.
    pub(super) size: Option<u64>,
    pub(super) swap: bool,
}

#[derive(Deserialize)]
struct Dump {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    label: String,
    #[serde(default = "sector")]
    sectorsize: u64,
    #[serde(default)]
    partitions: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    node: PathBuf,
    start: u64,
    size: u64,
    #[serde(default)]
    name: String,
}

fn sector() -> u64 {
    512
}

/// The partition table of a disk: its label, `dos` or `gpt`, and its partitions. `None` if there is none.
pub(super) async fn table(device: &Path) -> Result<Option<(String, Vec<Partition>)>, Error> {
    let output = match Command::new("sfdisk").arg("--json").arg(device).run().await {
        Ok(output) => output.stdout,
        // What it says of a disk without a table; other failures have other words.
        Err(error)
            if error.code() == Some(1)
                && error
                    .output()
                    .contains("does not contain a recognized partition table") =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(Error::command(
                format!("reading the partitions of {}", device.display()),
                error,
            ));
        }
    };
    let dump: Dump = serde_json::from_str(&output).map_err(|e| {
        Error::Device(format!(
            "cannot understand the partitions of {}: {e}",
            device.display()
        ))
    })?;
    let table = dump.partitiontable;
    let partitions = table.partitions.into_iter().map(|entry| Partition {
        node: entry.node,
        start: entry.start * table.sectorsize,
        size: entry.size * table.sectorsize,
        name: entry.name,
    });
    Ok(Some((table.label, partitions.collect())))
}

/// Writes a new table with these partitions, whatever was there.
pub(super) async fn write_table(device: &Path, gpt: bool, wanted: &[Wanted]) -> Result<(), Error> {
    let mut script = format!("label: {}\n", if gpt { "gpt" } else { "dos" });
    script.push_str(&lines(gpt, wanted));
    let sfdisk = || {
        Command::new("sfdisk")
            .args(["--wipe", "always", "--wipe-partitions", "never"])
            .arg(device)
            .input(script.as_str())
    };
    run_until_free(sfdisk, "partitioning", device).await?;
    settle(device).await
}

/// Adds partitions to the table of a disk in use.
pub(super) async fn append(device: &Path, gpt: bool, wanted: &[Wanted]) -> Result<(), Error> {
    let script = lines(gpt, wanted);
    let sfdisk = || {
        let command = Command::new("sfdisk").args([
            "--append",
            "--force",
            "--no-reread",
            "--wipe-partitions",
            "never",
        ]);
        command.arg(device).input(script.as_str())
    };
    run_until_free(sfdisk, "adding partitions to", device).await?;
    settle(device).await
}

/// Makes the first partition as large as the disk lets it be. Its start stays.
pub(super) async fn grow(device: &Path) -> Result<(), Error> {
    let sfdisk = || {
        Command::new("sfdisk")
            .args(["--force", "--no-reread", "-N", "1"])
            .arg(device)
            .input(", +\n")
    };
    run_until_free(sfdisk, "growing the partition of", device).await?;
    settle(device).await
}

fn lines(gpt: bool, wanted: &[Wanted]) -> String {
    let mut lines = String::new();
    for partition in wanted {
        let mut fields = vec![format!("type={}", if partition.swap { "S" } else { "L" })];
        if let Some(size) = partition.size {
            // Whole mebibytes, for alignment.
            fields.insert(0, format!("size={}MiB", size / MIB));
        }
        if gpt && !partition.name.is_empty() {
            fields.push(format!(
                "name=\"{}\"",
                partition.name.replace(['"', '\\', '\n'], "-")
            ));
        }
        lines.push_str(&fields.join(", "));
        lines.push('\n');
    }
    lines
}

async fn run_until_free(
    command: impl Fn() -> Command,
    operation: &str,
    device: &Path,
) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        match command().run().await {
            Ok(_) => return Ok(()),
            Err(error) if tries < TRIES && error.output().contains("in use") => {
                tracing::info!(device = %device.display(), tries, "a disk is in use, trying again");
                tokio::time::sleep(Duration::from_secs(3)).await;
                tries += 1;
            }
            Err(error) => {
                return Err(Error::command(
                    format!("{operation} {}", device.display()),
                    error,
                ));
            }
        }
    }
}

/// Tells the kernel about the new table and waits until the devices of its partitions are there.
async fn settle(device: &Path) -> Result<(), Error> {
    let partx = Command::new("partx")
        .arg("--update")
        .arg(device)
        .run()
        .await;
    let there = table(device)
        .await?
        .map_or(Vec::new(), |(_, partitions)| partitions);
    if Command::exists("udevadm") {
        // Only a hint that udev is done; below is the proof.
        let _ = Command::new("udevadm")
            .args(["settle", "--timeout=30"])
            .run()
            .await;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while let Some(missing) = there.iter().find(|partition| !partition.node.exists()) {
        if tokio::time::Instant::now() >= deadline {
            let text = format!("the partition {} does not appear", missing.node.display());
            return Err(match partx {
                Err(error) => Error::command(text, error),
                Ok(_) => Error::Device(text),
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Whether a disk needs a GPT.
pub(super) fn needs_gpt(device: &Path, partitioner: &str) -> Result<bool, Error> {
    match partitioner {
        "parted" => Ok(true),
        "" | "sfdisk" => Ok(size(device)? > MBR_LIMIT),
        other => Err(Error::Invalid(format!(
            "Unknown partitioner type '{other}'"
        ))),
    }
}

/// The size of a device in bytes.
pub(super) fn size(device: &Path) -> Result<u64, Error> {
    let wrap = |e| Error::file("measuring", device, e);
    fs::File::open(device)
        .and_then(|mut file| file.seek(SeekFrom::End(0)))
        .map_err(wrap)
}

/// The device of a partition by its number.
pub(super) fn node(device: &Path, number: u32) -> PathBuf {
    let text = device.display().to_string();
    if text.starts_with("/dev/mapper/") {
        return PathBuf::from(format!("{text}-part{number}"));
    }
    // As the kernel names them: /dev/sda1, but /dev/nvme0n1p1.
    let p = if text.ends_with(|c: char| c.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    PathBuf::from(format!("{text}{p}{number}"))
}

/// What is on a device: `ext4`, `xfs`, `swap`; `None` if nothing is recognised.
pub(super) async fn filesystem(device: &Path) -> Result<Option<String>, Error> {
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
pub(super) async fn format(device: &Path, kind: &str) -> Result<(), Error> {
    let there = filesystem(device).await?;
    match (kind, there.as_deref()) {
        ("swap", Some("swap")) => return Ok(()),
        ("swap", _) => {}
        (_, Some("ext4" | "xfs")) => return Ok(()),
        _ => {}
    }
    let make = || match kind {
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
    let wrap = |e| Error::command(format!("making {kind} on {}", device.display()), e);
    match make().run().await {
        Err(error) if error.output().contains("apparently in use by the system") => {
            make().run().await.map_err(wrap)?
        }
        other => other.map_err(wrap)?,
    };
    Ok(())
}

/// Makes a mounted filesystem as large as its device.
pub(super) async fn grow_filesystem(device: &Path, point: &Path) -> Result<(), Error> {
    let command = match filesystem(device).await?.as_deref() {
        Some("ext4") => Command::new("resize2fs").arg("-f").arg(device),
        Some("xfs") => Command::new("xfs_growfs").arg(point),
        _ => return Ok(()),
    };
    command.run().await.map_err(|e| {
        Error::command(format!("growing the filesystem on {}", device.display()), e)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        for (device, expected) in [
            ("/dev/sda", "/dev/sda1"),
            ("/dev/nvme0n1", "/dev/nvme0n1p1"),
            ("/dev/loop7", "/dev/loop7p1"),
            ("/dev/mapper/3600a", "/dev/mapper/3600a-part1"),
        ] {
            assert_eq!(node(Path::new(device), 1), Path::new(expected));
        }
    }

    #[test]
    fn a_partition_is_described_as_sfdisk_wants_it() {
        let wanted = [
            Wanted {
                name: "bosh-partition-a\"b".into(),
                size: Some(10 * MIB + 5),
                swap: true,
            },
            Wanted {
                name: "x".into(),
                size: None,
                swap: false,
            },
        ];
        assert_eq!(
            lines(true, &wanted),
            "size=10MiB, type=S, name=\"bosh-partition-a-b\"\ntype=L, name=\"x\"\n"
        );
        assert_eq!(lines(false, &wanted), "size=10MiB, type=S\ntype=L\n");
    }
}
