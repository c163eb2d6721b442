//! Disks are found by what CPIs say about them. Devices are loop devices; the links of udev and the files of sysfs that
//! lead to them are below the test's own root.

use super::loops::Loop;
use super::*;

const ID: &str = "6e0ccd30-4f3c-4f0b-9f83-d9f0c0c7f9b1";

fn by(kind: &str) -> Options {
    Options {
        device_path_resolution_type: kind.to_owned(),
        ..Options::default()
    }
}

async fn found(m: &Machine, disk: &DiskSettings) -> Result<Option<PathBuf>, String> {
    let found = m
        .linux
        .find_device(disk, super::super::devices::Patience::Now);
    found.await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn virtio_disks_are_known_by_id_or_by_any_drivers_name() {
    let m = Machine::new(by("virtio"));
    let (one, two) = (Loop::new(20), Loop::new(20));
    let disk = DiskSettings {
        id: ID.into(),
        path: "/dev/sdc".to_owned(),
        ..DiskSettings::default()
    };
    assert_eq!(found(&m, &disk).await, Ok(None));
    m.link("dev/vdc", &two.device);
    assert_eq!(found(&m, &disk).await, Ok(Some(two.device.clone())));
    m.link("dev/xvdc", &one.device);
    assert_eq!(
        found(&m, &disk).await,
        Ok(Some(one.device.clone())),
        "Xen's driver comes first"
    );

    // The id says it better; several links may lead to one disk.
    m.link(&format!("dev/disk/by-id/virtio-{ID}"), "../../vdc");
    m.link(&format!("dev/disk/by-id/scsi-0QEMU_{ID}"), "../../vdc");
    assert_eq!(found(&m, &disk).await, Ok(Some(two.device.clone())));
    // Which of two disks it is, nobody knows: then the path decides.
    m.link(&format!("dev/disk/by-id/other-{ID}"), "../../xvdc");
    assert_eq!(found(&m, &disk).await, Ok(Some(one.device.clone())));

    // A short id could be the end of any other.
    let short = DiskSettings {
        id: "f9b1".into(),
        path: "/dev/sdq".to_owned(),
        ..DiskSettings::default()
    };
    assert_eq!(found(&m, &short).await, Ok(None));
    let nothing = DiskSettings {
        id: ID.into(),
        ..DiskSettings::default()
    };
    assert_eq!(
        found(&m, &nothing).await,
        Err("Getting real device path: path is missing".to_owned())
    );
}

#[tokio::test]
async fn an_id_may_be_transformed_into_a_pattern() {
    let m = Machine::new(Options {
        disk_id_transform_pattern: "^(vol)-(.+)$".to_owned(),
        disk_id_transform_replacement: "nvme-Store_${1}${2}*".to_owned(),
        ..by("virtio")
    });
    let one = Loop::new(20);
    let disk = DiskSettings {
        id: "vol-0a1b2c3d4e5f60718".into(),
        path: "/dev/sdf".to_owned(),
        ..DiskSettings::default()
    };
    m.link(
        "dev/disk/by-id/nvme-Store_vol0a1b2c3d4e5f60718_1",
        &one.device,
    );
    assert_eq!(found(&m, &disk).await, Ok(Some(one.device.clone())));
}

#[tokio::test]
async fn scsi_disks_are_known_by_id_by_target_or_by_unit() {
    let m = Machine::new(by("scsi"));
    let one = Loop::new(20);
    let nothing = found(&m, &DiskSettings::default()).await;
    assert!(nothing.unwrap_err().contains("neither id nor volume_id"));

    // By id: vSphere's, written with dashes and shown without.
    let by_id = DiskSettings {
        device_id: "6000C29e-1234".to_owned(),
        ..DiskSettings::default()
    };
    m.file("sys/class/scsi_host/host0/scan", "");
    m.file("sys/class/scsi_host/host2/scan", "");
    assert_eq!(found(&m, &by_id).await, Ok(None));
    m.link("dev/disk/by-id/wwn-0x6000C29e1234", &one.device);
    assert_eq!(found(&m, &by_id).await, Ok(Some(one.device.clone())));
    assert_eq!(
        m.read("sys/class/scsi_host/host0/scan"),
        "- - -",
        "the kernel has been asked to look"
    );

    // By target, on the host that the system disk is on.
    let by_target = DiskSettings {
        volume_id: "3".to_owned(),
        ..DiskSettings::default()
    };
    m.file("sys/class/scsi_host/host0/scan", "");
    m.file("sys/class/scsi_host/host2/scan", "");
    m.file("sys/bus/scsi/devices/0:0:0:0/block/sr0", "");
    let none = found(&m, &by_target).await;
    assert_eq!(none, Err("there is no SCSI host with a disk".to_owned()));
    m.file("sys/bus/scsi/devices/2:0:0:0/block/sda", "");
    assert_eq!(found(&m, &by_target).await, Ok(None));
    m.file("sys/bus/scsi/devices/2:0:3:0/block/sdc", "");
    m.link("dev/sdc", &one.device);
    assert_eq!(found(&m, &by_target).await, Ok(Some(one.device.clone())));
    assert_eq!(m.read("sys/class/scsi_host/host2/scan"), "- - -");
    assert_eq!(
        m.read("sys/class/scsi_host/host0/scan"),
        "",
        "that one is another's"
    );

    // By logical unit and controller: Hyper-V. The same unit number on another controller is another disk.
    let by_unit = DiskSettings {
        lun: "5".to_owned(),
        host_device_id: "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}".to_owned(),
        ..DiskSettings::default()
    };
    assert!(
        found(&m, &by_unit)
            .await
            .unwrap_err()
            .contains("no controller")
    );
    m.file(
        "sys/bus/vmbus/devices/vmbus_7/device_id",
        "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}\n",
    );
    for (controller, device, block) in
        [("vmbus_6", "1:0:0:5", "sdx"), ("vmbus_7", "3:0:1:5", "sdd")]
    {
        m.file(&format!("sys/bus/scsi/devices/{device}/block/{block}"), "");
        let place = format!("sys/devices/{controller}/host/{device}/block/{block}");
        m.file(&format!("{place}/size"), "1");
        m.link(&format!("sys/class/block/{block}"), m.path(&place));
    }
    assert_eq!(found(&m, &by_unit).await, Ok(None));
    m.link("dev/sdx", "/dev/null");
    m.link("dev/sdd", &one.device);
    assert_eq!(found(&m, &by_unit).await, Ok(Some(one.device.clone())));
}

#[tokio::test]
async fn a_link_by_unit_comes_first() {
    let m = Machine::new(Options {
        lun_device_symlink_path: "/dev/disk/azure/data/by-lun".to_owned(),
        ..Options::default()
    });
    let one = Loop::new(20);
    let disk = DiskSettings {
        lun: "0".to_owned(),
        host_device_id: "x".to_owned(),
        path: "/dev/other".to_owned(),
        ..DiskSettings::default()
    };
    assert_eq!(found(&m, &disk).await, Ok(Some("/dev/other".into())));
    m.link("dev/disk/azure/data/by-lun/0", &one.device);
    assert_eq!(found(&m, &disk).await, Ok(Some(one.device.clone())));
}

#[tokio::test]
async fn a_link_is_followed_for_partitions_are_named_after_the_device() {
    let m = Machine::new(Options::default());
    let one = Loop::new(100);
    m.link("by-id/google-disk", &one.device);
    let disk = DiskSettings {
        path: m.path("by-id/google-disk").display().to_string(),
        ..one.disk("google-disk")
    };
    let store = m.linux.dirs().store();
    m.linux
        .adjust_persistent_disk_partitioning(&disk, &store)
        .await
        .unwrap();
    m.linux.mount_persistent_disk(&disk, &store).await.unwrap();
    assert!(m.linux.is_persistent_disk_mounted(&disk).await.unwrap());
    assert!(m.linux.unmount_persistent_disk(&disk).await.unwrap());
}
