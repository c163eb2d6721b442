use super::loops::{Loop, run};
use super::*;

#[tokio::test]
async fn a_persistent_disk_that_is_a_directory() {
    let m = Machine::new(warden());
    let disk = |name: &str| {
        let path = m.path(&format!("warden-cpi-dev/{name}"));
        fs::create_dir_all(&path).unwrap();
        DiskSettings {
            id: DiskCid::from(name),
            path: path.display().to_string(),
            ..DiskSettings::default()
        }
    };
    let (one, two) = (disk("one"), disk("two"));
    let (store, target) = (m.linux.dirs().store(), m.linux.dirs().store_migration());
    let linux = &m.linux;
    assert!(!linux.is_persistent_disk_mounted(&one).await.unwrap());
    assert!(!linux.unmount_persistent_disk(&one).await.unwrap());
    linux
        .adjust_persistent_disk_partitioning(&one, &store)
        .await
        .unwrap();
    for _ in 0..2 {
        linux.mount_persistent_disk(&one, &store).await.unwrap();
    }
    assert!(linux.is_persistent_disk_mounted(&one).await.unwrap());
    assert!(linux.is_persistent_disk_mountable(&one).await.unwrap());
    assert!(!linux.is_persistent_disk_mounted(&two).await.unwrap());
    assert_eq!(m.read("var/vcap/bosh/managed_disk_settings.json"), "one");
    fs::create_dir(store.join("redis")).unwrap();
    fs::write(store.join("redis/dump.rdb"), "data").unwrap();
    assert_eq!(m.read("warden-cpi-dev/one/redis/dump.rdb"), "data");

    // A second disk goes beside the first, and takes its place with its data.
    linux.mount_persistent_disk(&two, &store).await.unwrap();
    assert_eq!(m.read("var/vcap/bosh/managed_disk_settings.json"), "two");
    linux
        .migrate_persistent_disk(&store, &target)
        .await
        .unwrap();
    assert_eq!(m.read("var/vcap/store/redis/dump.rdb"), "data");
    assert_eq!(m.read("warden-cpi-dev/two/redis/dump.rdb"), "data");
    assert!(!linux.is_persistent_disk_mounted(&one).await.unwrap());
    assert!(linux.mount_source(&target).await.unwrap().is_none());

    assert!(linux.unmount_persistent_disk(&two).await.unwrap());
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    let missing = DiskSettings {
        path: "/warden-cpi-dev/missing".to_owned(),
        ..DiskSettings::default()
    };
    assert!(!linux.unmount_persistent_disk(&missing).await.unwrap());
    assert!(linux.mount_persistent_disk(&missing, &store).await.is_err());
    assert!(
        linux
            .mount_persistent_disk(&DiskSettings::default(), &store)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_persistent_disk_that_is_a_device() {
    let m = Machine::new(Options::default());
    let (store, target) = (m.linux.dirs().store(), m.linux.dirs().store_migration());
    let linux = &m.linux;
    let loop_one = Loop::new(300);
    let one = loop_one.disk("disk-1");
    assert!(!linux.is_persistent_disk_mountable(&one).await.unwrap());
    linux
        .adjust_persistent_disk_partitioning(&one, &store)
        .await
        .unwrap();
    let table = loop_one.partitions();
    assert!(
        table.contains("label: dos")
            && table.contains("type=83")
            && table.matches("size=").count() == 1,
        "{table}"
    );
    assert!(linux.is_persistent_disk_mountable(&one).await.unwrap());
    linux.mount_persistent_disk(&one, &store).await.unwrap();
    assert!(linux.is_persistent_disk_mounted(&one).await.unwrap());
    fs::write(store.join("dump.rdb"), "data").unwrap();
    let before = nix::sys::statvfs::statvfs(&store).unwrap().blocks();

    // Formatting is for the empty: again and mounted, it stays as it is.
    linux
        .adjust_persistent_disk_partitioning(&one, &store)
        .await
        .unwrap();
    linux.mount_persistent_disk(&one, &store).await.unwrap();
    assert_eq!(m.read("var/vcap/store/dump.rdb"), "data");

    // The CPI has enlarged it while it was detached.
    assert!(linux.unmount_persistent_disk(&one).await.unwrap());
    assert!(!linux.is_persistent_disk_mounted(&one).await.unwrap());
    loop_one.enlarge(600);
    linux
        .adjust_persistent_disk_partitioning(&one, &store)
        .await
        .unwrap();
    assert!(linux.mount_source(&store).await.unwrap().is_none());
    linux.mount_persistent_disk(&one, &store).await.unwrap();
    assert_eq!(m.read("var/vcap/store/dump.rdb"), "data");
    let after = nix::sys::statvfs::statvfs(&store).unwrap().blocks();
    assert!(after > before * 18 / 10, "{before} -> {after}");

    // And replaces it by another, with another filesystem, and extended attributes that must come along.
    let loop_two = Loop::new(400);
    let two = DiskSettings {
        file_system_type: "xfs".to_owned(),
        ..loop_two.disk("disk-2")
    };
    let capability = std::process::Command::new("setfattr")
        .args(["-n", "user.kept", "-v", "yes"])
        .arg(store.join("dump.rdb"))
        .status()
        .is_ok_and(|status| status.success());
    linux
        .adjust_persistent_disk_partitioning(&two, &store)
        .await
        .unwrap();
    linux.mount_persistent_disk(&two, &store).await.unwrap();
    linux
        .migrate_persistent_disk(&store, &target)
        .await
        .unwrap();
    assert_eq!(m.read("var/vcap/store/dump.rdb"), "data");
    assert_eq!(
        mounts::Mounts::read().unwrap().at(&store).unwrap().kind,
        "xfs"
    );
    assert!(linux.is_persistent_disk_mounted(&two).await.unwrap());
    assert!(!linux.is_persistent_disk_mounted(&one).await.unwrap());
    if capability {
        let output = run(
            "getfattr",
            &[
                "--only-values",
                "-n",
                "user.kept",
                store.join("dump.rdb").to_str().unwrap(),
            ],
        );
        assert_eq!(output, "yes");
    }
    assert!(linux.unmount_persistent_disk(&two).await.unwrap());
}

#[tokio::test]
async fn a_disk_with_something_else_on_it_is_left_alone() {
    let m = Machine::new(Options::default());
    let store = m.linux.dirs().store();
    let whole = Loop::new(100);
    run(
        "mke2fs",
        &["-q", "-t", "ext4", whole.device.to_str().unwrap()],
    );
    let error = m
        .linux
        .adjust_persistent_disk_partitioning(&whole.disk("x"), &store)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("holds ext4 and no partition"),
        "{error}"
    );

    let many = Loop::new(100);
    let wanted = |size| partition::Wanted {
        name: "x".into(),
        size,
        swap: false,
    };
    partition::write_table(
        &many.device,
        partition::Label::Gpt,
        &[wanted(Some(20 << 20)), wanted(None)],
    )
    .await
    .unwrap();
    let error = m
        .linux
        .adjust_persistent_disk_partitioning(&many.disk("x"), &store)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("many partitions are not supported. Expected 1, got 2"),
        "{error}"
    );

    let odd = DiskSettings {
        file_system_type: "ntfs".to_owned(),
        ..many.disk("x")
    };
    let error = m
        .linux
        .adjust_persistent_disk_partitioning(&odd, &store)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "The filesystem type \"ntfs\" is not supported"
    );
}
