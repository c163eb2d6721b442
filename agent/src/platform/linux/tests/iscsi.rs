//! Disks over the network. This kernel may have neither the device mapper nor an iSCSI initiator, so the programs that
//! speak to them are scripts here, which make and remove the nodes of loop devices; partitions, filesystems and mounts are
//! real.

use super::loops::{Loop, fake_programs};
use super::*;
use bosh_protocol::disk::IscsiSettings;

struct Portal {
    m: Machine,
    disks: [Loop; 2],
}

impl Portal {
    /// A machine whose portal has a first disk, once the agent has logged in, and a second one after another login.
    fn new() -> Self {
        let m = Machine::new(Options {
            device_path_resolution_type: "iscsi".to_owned(),
            ..Options::default()
        });
        let disks = [Loop::new(100), Loop::new(100)];
        fs::create_dir_all(m.path("dev/mapper")).unwrap();
        for (n, disk) in disks.iter().enumerate() {
            m.node(&format!("portal/mpath{n}"), &disk.device);
        }
        let root = m.root.path().display().to_string();
        let log = format!("echo \"$(basename $0) $*\" >> {root}/log");
        // It lists the nodes that there are.
        let dmsetup = format!(
            "cd {root}/dev/mapper; for d in *; do [ -e $d ] && echo \"$d\t(254:0)\" && any=y; done; \
             [ -n \"$any\" ] || echo 'No devices found'"
        );
        let iscsiadm = format!(
            "{log}\ncase \"$*\" in\n'-m session') [ -e {root}/session ] && echo 'tcp: [1] 10.0.0.1:3260,1 iqn' || \
             {{ echo 'iscsiadm: No active sessions.' >&2; exit 21; }};;\n\
             '-m node -u') rm {root}/session;;\n\
             '-m node -l') touch {root}/session; cd {root}/portal; \
             for d in *; do [ -e {root}/dev/mapper/$d ] || {{ cp -a $d {root}/dev/mapper/$d; break; }}; done;;\nesac"
        );
        // As the daemon does, a node for each first partition.
        let nodes: String = disks
            .iter()
            .enumerate()
            .map(|(n, disk)| {
                let device = disk.device.display();
                format!(
                    "partx -u {device} 2>/dev/null; [ -e {device}p1 ] && [ -e {root}/dev/mapper/mpath{n} ] && \
                     cp -a {device}p1 {root}/dev/mapper/mpath{n}-part1\n"
                )
            })
            .collect();
        let multipath = format!(
            "{log}\ncase $1 in\n-ll) ls {root}/dev/mapper;;\n-f) rm {root}/dev/mapper/$2*;;\nesac"
        );
        fake_programs(
            &m,
            &[
                ("dmsetup", dmsetup),
                ("iscsiadm", iscsiadm),
                ("multipath", multipath),
            ],
        );
        for (service, does) in [("open-iscsi", ""), ("multipath-tools", nodes.as_str())] {
            let path = format!("etc/init.d/{service}");
            m.file(&path, &format!("#!/bin/sh\n{log}\n{does}exit 0\n"));
            fs::set_permissions(m.path(&path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { m, disks }
    }

    fn disk(&self, id: &str) -> DiskSettings {
        DiskSettings {
            id: id.into(),
            iscsi: IscsiSettings {
                initiator_name: "iqn.2026-01.test:vm".to_owned(),
                username: "vm".to_owned(),
                password: "s3cret".into(),
                target: "10.0.0.1".to_owned(),
            },
            ..DiskSettings::default()
        }
    }
}

#[tokio::test]
async fn a_disk_over_the_network_is_replaced_by_another() {
    let p = Portal::new();
    let linux = &p.m.linux;
    let (store, target) = (linux.dirs().store(), linux.dirs().store_migration());
    let (one, two) = (p.disk("one"), p.disk("two"));
    assert!(
        !linux.is_persistent_disk_mounted(&one).await.unwrap(),
        "asking does not log in"
    );
    assert!(!p.m.path("log").exists());

    linux
        .adjust_persistent_disk_partitioning(&one, &store)
        .await
        .unwrap();
    linux.mount_persistent_disk(&one, &store).await.unwrap();
    fs::write(store.join("kept"), "x").unwrap();
    assert_eq!(
        p.m.read("etc/iscsi/initiatorname.iscsi"),
        "InitiatorName=iqn.2026-01.test:vm\n"
    );
    assert!(
        p.m.read("etc/iscsi/iscsid.conf")
            .contains("node.session.auth.password = s3cret\n")
    );
    assert_eq!(p.m.owner("etc/iscsi/iscsid.conf").0, 0o600);
    let log = p.m.read("log");
    let discovery = "iscsiadm -m discovery -t sendtargets -p 10.0.0.1\n";
    assert!(
        log.starts_with(&format!(
            "open-iscsi restart\nmultipath-tools restart\n{discovery}"
        )),
        "{log}"
    );
    assert_eq!(
        log.matches("-m node -l").count(),
        1,
        "logged in once: {log}"
    );
    assert!(!log.contains("-m node -u"), "{log}");
    let mounts = mounts::Mounts::read().unwrap();
    let node = p.m.path("dev/mapper/mpath0-part1");
    assert_eq!(mounts.of(&node)[0].point, store);

    // The second one is the one without a partition, and shows in a new session.
    linux
        .adjust_persistent_disk_partitioning(&two, &store)
        .await
        .unwrap();
    assert!(p.m.read("log").contains("iscsiadm -m node -u\n"));
    linux.mount_persistent_disk(&two, &store).await.unwrap();
    linux
        .migrate_persistent_disk(&store, &target)
        .await
        .unwrap();
    assert_eq!(p.m.read("var/vcap/store/kept"), "x");
    assert!(linux.is_persistent_disk_mounted(&two).await.unwrap());
    assert!(
        p.m.read("log")
            .ends_with("multipath -ll\nmultipath -f mpath0\n"),
        "{}",
        p.m.read("log")
    );
    assert!(!p.m.path("dev/mapper/mpath0").exists());

    // A new agent knows the one that was mounted last by its partition.
    let again = Linux::new(Dirs::below(p.m.root.path()), linux.options.clone());
    assert!(again.is_persistent_disk_mounted(&two).await.unwrap());
    assert!(!again.is_persistent_disk_mounted(&one).await.unwrap());
    assert!(again.unmount_persistent_disk(&two).await.unwrap());
    assert_eq!(p.disks[1].partitions().matches("size=").count(), 1);
}

#[tokio::test]
async fn a_disk_that_is_a_path_needs_no_portal() {
    let p = Portal::new();
    let disk = p.disks[0].disk("local");
    let store = p.m.linux.dirs().store();
    p.m.linux
        .adjust_persistent_disk_partitioning(&disk, &store)
        .await
        .unwrap();
    p.m.linux
        .mount_persistent_disk(&disk, &store)
        .await
        .unwrap();
    assert!(!p.m.path("log").exists());
    let error =
        p.m.linux
            .is_persistent_disk_mounted(&DiskSettings::default())
            .await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "iSCSI InitiatorName is not set"
    );
}
