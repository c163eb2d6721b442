//! Full, read-only and vanished disks: one clear error, and nothing half-done.

use super::loops::{Loop, run};
use super::*;
use std::os::unix::fs::FileExt;

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn mounted(m: &Machine, disk: &DiskSettings) {
    let store = m.linux.dirs().store();
    m.linux
        .adjust_persistent_disk_partitioning(disk, &store)
        .await
        .unwrap();
    m.linux.mount_persistent_disk(disk, &store).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_for_the_agents_own_files() {
    let m = Machine::new(warden());
    let bosh = m.linux.dirs().bosh();
    mounts::tmpfs(&bosh, "64k").unwrap();
    let disk = |name: &str| DiskSettings {
        id: name.into(),
        path: m.path(name).display().to_string(),
        ..DiskSettings::default()
    };
    for name in ["one", "two"] {
        fs::create_dir(m.path(name)).unwrap();
    }
    let store = m.linux.dirs().store();
    m.linux
        .mount_persistent_disk(&disk("one"), &store)
        .await
        .unwrap();
    let filler = fs::File::create(bosh.join("filler")).unwrap();
    let mut at = 0;
    while filler.write_at(&[0; 4096], at).is_ok() {
        at += 4096;
    }
    let error = m
        .linux
        .mount_persistent_disk(&disk("two"), &store)
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("managed_disk_settings.json") && text.contains("No space left"),
        "{text}"
    );
    assert_eq!(m.read("var/vcap/bosh/managed_disk_settings.json"), "one");
    assert_eq!(
        fs::read_dir(&bosh).unwrap().count(),
        2,
        "no temporary file is left"
    );

    // And with room again the same call does it.
    fs::remove_file(bosh.join("filler")).unwrap();
    drop(filler);
    m.linux
        .mount_persistent_disk(&disk("two"), &store)
        .await
        .unwrap();
    assert_eq!(m.read("var/vcap/bosh/managed_disk_settings.json"), "two");
}

#[tokio::test]
async fn a_new_disk_that_is_too_small_for_the_old_ones_data() {
    let m = Machine::new(Options::default());
    let (store, target) = (m.linux.dirs().store(), m.linux.dirs().store_migration());
    let (large, small) = (Loop::new(120), Loop::new(30));
    let old = DiskSettings {
        mount_options: vec!["nodev".to_owned(), "noatime".to_owned()],
        ..large.disk("large")
    };
    mounted(&m, &old).await;
    fs::write(store.join("data"), vec![7; 60 << 20]).unwrap();
    mounted(&m, &small.disk("small")).await;
    for _ in 0..2 {
        let error = m
            .linux
            .migrate_persistent_disk(&store, &target)
            .await
            .unwrap_err();
        assert!(
            chain(&error).contains("No space left on device"),
            "{}",
            chain(&error)
        );
        let mounts = mounts::Mounts::read().unwrap();
        let there = mounts.at(&store).unwrap();
        assert_eq!(Path::new(&there.source), partition::node(&large.device, 1));
        assert!(
            there.options.contains("rw,nodev,noatime"),
            "{}",
            there.options
        );
        assert!(mounts.at(&target).is_some());
        fs::write(store.join("more"), "x").unwrap();
        assert_eq!(fs::metadata(store.join("data")).unwrap().len(), 60 << 20);
    }
    assert!(
        m.linux
            .unmount_persistent_disk(&small.disk("small"))
            .await
            .unwrap()
    );
    // The director gives up on it and takes a larger one; its options are those it was mounted with.
    let other = Loop::new(120);
    let new = DiskSettings {
        mount_options: vec!["nosuid".to_owned()],
        ..other.disk("other")
    };
    mounted(&m, &new).await;
    m.linux
        .migrate_persistent_disk(&store, &target)
        .await
        .unwrap();
    assert_eq!(fs::metadata(store.join("data")).unwrap().len(), 60 << 20);
    let mounts = mounts::Mounts::read().unwrap();
    assert!(mounts.at(&store).unwrap().options.contains("rw,nosuid"));
}

#[tokio::test]
async fn an_agent_that_died_while_it_copied_left_the_disk_read_only() {
    let m = Machine::new(Options::default());
    let disk = Loop::new(100);
    mounted(&m, &disk.disk("d")).await;
    let store = m.linux.dirs().store();
    mounts::read_only(&store, true).await.unwrap();
    assert!(fs::write(store.join("x"), "").is_err());
    m.linux
        .mount_persistent_disk(&disk.disk("d"), &store)
        .await
        .unwrap();
    fs::write(store.join("x"), "").unwrap();

    // Unless the manifest wants it so.
    let wanted = DiskSettings {
        mount_options: vec!["ro".to_owned()],
        ..disk.disk("d")
    };
    mounts::read_only(&store, true).await.unwrap();
    m.linux
        .mount_persistent_disk(&wanted, &store)
        .await
        .unwrap();
    assert!(fs::write(store.join("x"), "").is_err());
}

#[tokio::test]
async fn a_device_that_cannot_be_written() {
    let m = Machine::new(Options::default());
    let store = m.linux.dirs().store();
    let disk = Loop::new(100);
    let device = disk.device.to_str().unwrap();
    run("blockdev", &["--setro", device]);
    let error = m
        .linux
        .adjust_persistent_disk_partitioning(&disk.disk("d"), &store)
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains(device) && text.contains("partitioning"),
        "{text}"
    );
    assert!(m.linux.mount_source(&store).await.unwrap().is_none());
    let error = m
        .linux
        .setup_ephemeral_disk(Some(&disk.device), Some(0), "x")
        .await
        .unwrap_err();
    assert!(chain(&error).contains(device), "{}", chain(&error));
    run("blockdev", &["--setrw", device]);
    mounted(&m, &disk.disk("d")).await;
    fs::write(store.join("x"), "").unwrap();
}

#[tokio::test]
async fn a_device_that_vanishes() {
    let m = Machine::new(Options::default());
    let (store, target) = (m.linux.dirs().store(), m.linux.dirs().store_migration());
    let (old, new) = (Loop::new(100), Loop::new(100));
    mounted(&m, &old.disk("old")).await;
    fs::write(store.join("data"), vec![7; 30 << 20]).unwrap();
    nix::unistd::sync();
    mounted(&m, &new.disk("new")).await;
    // What is behind it is gone, as when a volume is torn off; what the kernel remembers of it goes too.
    old.file.as_file().set_len(0).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    run("blockdev", &["--flushbufs", old.device.to_str().unwrap()]);
    let error = m
        .linux
        .migrate_persistent_disk(&store, &target)
        .await
        .unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("Input/output error") && text.contains("copying"),
        "{text}"
    );
    // It can still be told apart, listed and unmounted.
    assert!(
        m.linux
            .is_persistent_disk_mounted(&old.disk("old"))
            .await
            .unwrap()
    );
    assert!(
        m.linux
            .unmount_persistent_disk(&old.disk("old"))
            .await
            .unwrap()
    );
    assert!(
        !m.linux
            .unmount_persistent_disk(&old.disk("old"))
            .await
            .unwrap()
    );
    assert!(
        m.linux
            .unmount_persistent_disk(&new.disk("new"))
            .await
            .unwrap()
    );

    let gone = DiskSettings {
        path: "/dev/no-such-disk".to_owned(),
        ..DiskSettings::default()
    };
    let error = m
        .linux
        .adjust_persistent_disk_partitioning(&gone, &store)
        .await
        .unwrap_err();
    assert!(
        chain(&error).contains("/dev/no-such-disk"),
        "{}",
        chain(&error)
    );
    assert!(m.linux.mount_persistent_disk(&gone, &store).await.is_err());
    assert!(!m.linux.is_persistent_disk_mounted(&gone).await.unwrap());
    assert!(m.linux.mount_source(&store).await.unwrap().is_none());
}
