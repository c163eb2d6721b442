//! The ephemeral disk, raw disks, and what is left of the root disk.

use super::super::ephemeral::partition_rest;
use super::loops::{Loop, run};
use super::*;

#[tokio::test]
async fn an_ephemeral_disk_is_partitioned_once() {
    let m = Machine::new(Options {
        use_default_tmp_dir: true,
        ..Options::default()
    });
    let disk = Loop::new(200);
    let data = m.linux.dirs().data();
    m.linux
        .setup_ephemeral_disk(
            Some(&disk.device),
            Some(0),
            "0f1e2d3c-agent-id-that-is-quite-long",
        )
        .await
        .unwrap();
    fs::write(data.join("kept"), "x").unwrap();
    let table = disk.partitions();
    assert!(
        table.contains("label: gpt")
            && table.contains("name=\"bosh-partition-0f1e2d3c-agent-id-0\""),
        "{table}"
    );
    m.linux
        .setup_ephemeral_disk(
            Some(&disk.device),
            Some(0),
            "0f1e2d3c-agent-id-that-is-quite-long",
        )
        .await
        .unwrap();
    assert_eq!(
        m.read("var/vcap/data/kept"),
        "x",
        "the agent has been restarted"
    );

    mounts::unmount(&data).await.unwrap();
    m.linux
        .setup_ephemeral_disk(Some(&disk.device), Some(0), "another")
        .await
        .unwrap();
    let table = disk.partitions();
    assert!(table.contains("bosh-partition-another-0"), "{table}");

    let none = Machine::new(Options::default());
    let error = none
        .linux
        .setup_ephemeral_disk(None, None, "x")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "No ephemeral disk found, cannot use root partition as ephemeral disk"
    );
}

/// Whether the kernel swaps to it.
fn swaps_to(device: &Path) -> bool {
    let name = format!("{} ", device.display());
    let swaps = fs::read_to_string("/proc/swaps").unwrap();
    swaps.lines().any(|line| line.starts_with(&name))
}

/// Swapping ends with the test, whatever happens in it.
struct Swapping(PathBuf);

impl Drop for Swapping {
    fn drop(&mut self) {
        let _ = std::process::Command::new("swapoff").arg(&self.0).output();
    }
}

#[tokio::test]
async fn swap_and_data_share_an_ephemeral_disk() {
    for (partitioner, label, kinds) in [
        ("", "label: gpt", ["0FC63DAF", "0FC63DAF"]),
        ("sfdisk", "label: dos", ["type=82", "type=83"]),
    ] {
        let m = Machine::new(Options {
            partitioner_type: partitioner.to_owned(),
            ..Options::default()
        });
        let disk = Loop::new(300);
        let swap = partition::node(&disk.device, 1);
        let _swapping = Swapping(swap.clone());
        let data = m.linux.dirs().data();
        let mut tables = Vec::new();
        for _ in 0..2 {
            m.linux
                .setup_ephemeral_disk(Some(&disk.device), Some(40 << 20), "agent")
                .await
                .unwrap();
            tables.push(disk.partitions());
        }
        assert_eq!(tables[0], tables[1], "the second boot changes nothing");
        assert!(tables[0].contains(label), "{}", tables[0]);
        assert!(tables[0].contains("size=       81920"), "{}", tables[0]);
        let partitions = tables[0].lines().filter(|line| line.contains("start="));
        for (partition, kind) in partitions.zip(kinds) {
            assert!(partition.contains(kind), "{partition}");
        }
        assert!(swaps_to(&swap));
        let mounts = mounts::Mounts::read().unwrap();
        let mount = mounts.at(&data).unwrap();
        assert_eq!(
            (Path::new(&mount.source), mount.kind.as_str()),
            (partition::node(&disk.device, 2).as_path(), "ext4")
        );
        mounts::unmount(&data).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_left_of_the_root_disk() {
    // Upstream's own test of this, to the sector: integration/ephemeral_disk_test.go.
    let disk = Loop::new(1224);
    let device = disk.device.to_str().unwrap();
    run(
        "sh",
        &[
            "-c",
            &format!("echo 1,262144,L | sfdisk -q --label dos {device}"),
        ],
    );
    let node = |n| partition::node(&disk.device, n);
    for _ in 0..2 {
        let made = partition_rest(&disk.device, 1, Some(0), "x").await.unwrap();
        assert_eq!(made, (None, node(2)));
        let table = disk.partitions();
        assert!(
            table.contains("p1 : start=           1, size=      262144, type=83"),
            "{table}"
        );
        assert!(
            table.contains("p2 : start=      264192, size=     2242560, type=83"),
            "{table}"
        );
        assert!(node(2).exists());
    }
    run(
        "sh",
        &[
            "-c",
            &format!("echo 1,262144,L | sfdisk -q --wipe always --label dos {device}"),
        ],
    );
    for _ in 0..2 {
        let made = partition_rest(&disk.device, 1, Some(64 << 20), "x")
            .await
            .unwrap();
        assert_eq!(made, (Some(node(2)), node(3)));
        let table = disk.partitions();
        assert!(
            table.contains("p2 : start=      264192, size=      131072, type=83"),
            "{table}"
        );
        assert!(
            table.contains("p3 : start=      395264, size=     2111488, type=83"),
            "{table}"
        );
    }
    // Half of it, if there is more memory than that.
    let error = partition_rest(&disk.device, 3, None, "x")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Insufficient remaining disk space (0B) for ephemeral partition (min: 1073741824B)"
    );
}

#[tokio::test]
async fn raw_disks_are_labelled_once() {
    let m = Machine::new(Options::default());
    let (one, two) = (Loop::new(20), Loop::new(20));
    run("mke2fs", &["-q", "-F", two.device.to_str().unwrap()]);
    let disks = [one.disk(""), two.disk("")];
    m.linux.setup_raw_ephemeral_disks(&disks).await.unwrap();
    let tables = [one.partitions(), two.partitions()];
    for (n, table) in tables.iter().enumerate() {
        assert!(table.contains("label: gpt"), "{table}");
        assert!(
            table.contains(&format!("name=\"raw-ephemeral-{n}\"")),
            "{table}"
        );
    }
    // A table has an id that another would not have.
    m.linux.setup_raw_ephemeral_disks(&disks).await.unwrap();
    assert_eq!(tables, [one.partitions(), two.partitions()]);
}

#[tokio::test]
async fn instance_storage_is_what_is_no_volume() {
    let m = Machine::new(Options {
        instance_storage_managed_volume_pattern:
            "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_*".to_owned(),
        ..Options::default()
    });
    let (volume, storage) = (Loop::new(20), Loop::new(20));
    fs::create_dir_all(m.path("dev/disk/by-id")).unwrap();
    m.node("dev/nvme0n1", &storage.device);
    m.node("dev/nvme1n1", &volume.device);
    // The kernel makes the partition's node in the real /dev.
    fs::write(m.path("dev/nvme0n1p1"), "").unwrap();
    let link = m.path("dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol1");
    std::os::unix::fs::symlink("../../nvme1n1", &link).unwrap();
    let said = DiskSettings {
        path: "/dev/nvme1n1".to_owned(),
        ..DiskSettings::default()
    };
    let two = [said.clone(), said.clone()];
    let error = m.linux.setup_raw_ephemeral_disks(&two).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Expected 2 instance storage devices but discovered 1"),
        "{error}"
    );
    m.linux
        .setup_raw_ephemeral_disks(std::slice::from_ref(&said))
        .await
        .unwrap();
    assert!(storage.partitions().contains("raw-ephemeral-0"));
    assert!(
        partition::table(&volume.device).await.unwrap().is_none(),
        "the volume is not touched"
    );

    // A link that leads nowhere may be to a volume: better nothing than its data.
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../../nvme9n1", &link).unwrap();
    let error = m
        .linux
        .setup_raw_ephemeral_disks(&[said])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Block_Store_vol1"), "{error}");
}
