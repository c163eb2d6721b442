//! Partition tables.
//!
//! One program, sfdisk, does what upstream spreads over sfdisk, parted and growpart: it has known GPT, names and growing
//! for years, and prints what it finds as JSON. The result on the disk is upstream's: a persistent disk has one partition
//! in an MBR, in a GPT if it is larger than 2 TiB. Upstream: platform/disk/*_partitioner.go.

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
/// How long the device of a new partition may take. Upstream: the same twenty tries, three seconds apart.
const APPEARS: Duration = Duration::from_secs(60);

/// A kind of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Gpt,
    /// An MBR.
    Dos,
}

impl Label {
    /// The size that a partition may have at most on a disk of that size.
    pub(super) fn limit(self, disk: u64) -> u64 {
        match self {
            Self::Gpt => disk,
            Self::Dos => disk.min(MBR_LIMIT),
        }
    }
}

/// One partition that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) number: u32,
    /// In bytes.
    pub(super) start: u64,
    /// In bytes.
    pub(super) size: u64,
    pub(super) name: String,
    /// `83`, `82`, a GUID in a GPT.
    pub(super) kind: String,
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
    node: String,
    start: u64,
    size: u64,
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
}

fn sector() -> u64 {
    512
}

/// The partition table of a disk and its partitions. `None` if there is none.
pub(super) async fn table(device: &Path) -> Result<Option<(Label, Vec<Partition>)>, Error> {
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
    let unknown = |what: String| {
        let device = device.display();
        Error::Device(format!(
            "cannot understand the partitions of {device}: {what}"
        ))
    };
    let dump: Dump = serde_json::from_str(&output).map_err(|e| unknown(e.to_string()))?;
    let table = dump.partitiontable;
    let label = match table.label.as_str() {
        "gpt" => Label::Gpt,
        "dos" => Label::Dos,
        other => return Err(unknown(format!("a table of the kind {other:?}"))),
    };
    let mut partitions = Vec::new();
    for entry in table.partitions {
        let digits = entry.node.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = entry.node[digits.len()..].parse();
        partitions.push(Partition {
            number: number.map_err(|_| unknown(format!("a partition named {:?}", entry.node)))?,
            start: entry.start * table.sectorsize,
            size: entry.size * table.sectorsize,
            name: entry.name,
            kind: entry.kind,
        });
    }
    Ok(Some((label, partitions)))
}

/// Writes a new table with these partitions, whatever was there.
pub(super) async fn write_table(
    device: &Path,
    label: Label,
    wanted: &[Wanted],
) -> Result<(), Error> {
    let name = match label {
        Label::Gpt => "gpt",
        Label::Dos => "dos",
    };
    let script = format!("label: {name}\n{}", lines(label, wanted, true));
    let sfdisk = || {
        Command::new("sfdisk")
            .args(["--wipe", "always", "--wipe-partitions", "never"])
            .arg(device)
            .input(script.as_str())
    };
    run_until_free(sfdisk, "partitioning", device).await?;
    settle(device).await
}

/// Adds partitions to the table of a disk in use. Their type says Linux, of swap too, as upstream's.
pub(super) async fn append(device: &Path, label: Label, wanted: &[Wanted]) -> Result<(), Error> {
    let script = lines(label, wanted, false);
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

/// What sfdisk reads. Only a whole MBR says which partition is swap, as upstream's do.
fn lines(label: Label, wanted: &[Wanted], whole: bool) -> String {
    let mut lines = String::new();
    for partition in wanted {
        let swap = whole && label == Label::Dos && partition.swap;
        let mut fields = vec![format!("type={}", if swap { "S" } else { "L" })];
        if let Some(size) = partition.size {
            // Whole mebibytes, for alignment.
            fields.insert(0, format!("size={}MiB", size / MIB));
        }
        if label == Label::Gpt && !partition.name.is_empty() {
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

/// Tells the kernel about the new table and waits until the devices of its partitions are there. The partitions of a mapped
/// device are the multipath daemon's to make.
async fn settle(device: &Path) -> Result<(), Error> {
    if is_mapped(device) {
        return Ok(());
    }
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
    for partition in there {
        let appeared = appear(&node(device, partition.number)).await;
        match (appeared, &partx) {
            (Err(error), Err(partx)) => {
                return Err(Error::Device(format!("{error}: {partx}")));
            }
            (other, _) => other?,
        }
    }
    Ok(())
}

/// Waits until there is such a device.
pub(super) async fn appear(node: &Path) -> Result<(), Error> {
    let deadline = tokio::time::Instant::now() + APPEARS;
    while !node.exists() {
        if tokio::time::Instant::now() >= deadline {
            let node = node.display();
            return Err(Error::Device(format!(
                "the partition {node} does not appear"
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The table that a persistent disk is to get.
pub(super) fn label_for(device: &Path, partitioner: &str) -> Result<Label, Error> {
    match partitioner {
        "parted" => Ok(Label::Gpt),
        "" if size(device)? > MBR_LIMIT => Ok(Label::Gpt),
        "" | "sfdisk" => Ok(Label::Dos),
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

/// Whether this is a device of the device mapper.
pub(super) fn is_mapped(device: &Path) -> bool {
    device
        .parent()
        .is_some_and(|dir| dir.ends_with("dev/mapper"))
}

/// The device of a partition by its number.
pub(super) fn node(device: &Path, number: u32) -> PathBuf {
    let text = device.display().to_string();
    if is_mapped(device) {
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
            lines(Label::Gpt, &wanted, true),
            "size=10MiB, type=L, name=\"bosh-partition-a-b\"\ntype=L, name=\"x\"\n"
        );
        assert_eq!(
            lines(Label::Dos, &wanted, true),
            "size=10MiB, type=S\ntype=L\n"
        );
        assert_eq!(
            lines(Label::Dos, &wanted, false),
            "size=10MiB, type=L\ntype=L\n"
        );
    }
}
