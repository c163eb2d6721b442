//! Against the real kernel: loop devices, mounts, users. Each test has a mount namespace and a root directory of its own,
//! so that nothing reaches the machine it runs on. They need root, sfdisk, mke2fs and mkfs.xfs.

use super::*;
use bosh_protocol::DiskCid;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{fs, os::unix::fs::MetadataExt, os::unix::fs::PermissionsExt};

struct Machine {
    linux: Linux,
    root: tempfile::TempDir,
}

impl Machine {
    fn new(options: Options) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests need root");
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let root = tempfile::tempdir().unwrap();
        let dirs = Dirs::below(root.path());
        for dir in ["etc", "var/vcap/bosh", "home/vcap", "tmp", "var/log", "opt"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let etc = root.path().join("etc");
        fs::write(
            etc.join("passwd"),
            "root:x:0:0:root:/root:/bin/bash\nvcap:x:1000:1000::/home/vcap:/bin/bash\n",
        )
        .unwrap();
        fs::write(
            etc.join("shadow"),
            "root:*:19000:0:99999:7:::\nvcap:*:19000:0:99999:7:::\n",
        )
        .unwrap();
        fs::write(
            etc.join("group"),
            "root:x:0:\nvcap:x:1000:\nadmin:x:900:\nbosh_sudoers:x:901:\nbosh_sshers:x:902:\n",
        )
        .unwrap();
        fs::write(
            etc.join("gshadow"),
            "root:*::\nvcap:!::\nadmin:!::\nbosh_sudoers:!::\nbosh_sshers:!::\n",
        )
        .unwrap();
        Self {
            linux: Linux::new(dirs, options),
            root,
        }
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Mode, user and group of a path.
    fn owner(&self, path: &str) -> (u32, u32, u32) {
        let meta = self
            .path(path)
            .metadata()
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid())
    }
}

fn warden() -> Options {
    Options {
        use_default_tmp_dir: true,
        use_preformatted_persistent_disk: true,
        bind_mount_persistent_disk: true,
        skip_disk_setup: true,
        ..Options::default()
    }
}

/// A block device that is a sparse file.
struct Loop {
    device: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Loop {
    fn new(mebibytes: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(mebibytes << 20).unwrap();
        let output = run("losetup", &["-f", "--show", file.path().to_str().unwrap()]);
        Self {
            device: PathBuf::from(output.trim()),
            file,
        }
    }

    fn enlarge(&self, mebibytes: u64) {
        self.file.as_file().set_len(mebibytes << 20).unwrap();
        run("losetup", &["-c", self.device.to_str().unwrap()]);
    }

    fn disk(&self, id: &str) -> DiskSettings {
        DiskSettings {
            id: DiskCid::from(id),
            path: self.device.display().to_string(),
            ..DiskSettings::default()
        }
    }

    fn partitions(&self) -> String {
        run("sfdisk", &["-d", self.device.to_str().unwrap()])
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let device = self.device.display().to_string();
        // Its mounts go with the namespace; what is left of it then goes by itself.
        let _ = std::process::Command::new("partx")
            .args(["-d", &device])
            .output();
        let _ = std::process::Command::new("losetup")
            .args(["-d", &device])
            .output();
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_container_boots() {
    let m = Machine::new(warden());
    let linux = &m.linux;
    linux.setup_hostname("agent-1").await.unwrap();
    linux
        .setup_ephemeral_disk(None, None, "agent-1")
        .await
        .unwrap();
    linux.setup_root_disk(None).await.unwrap();
    linux.setup_shared_memory().await.unwrap();
    for _ in 0..2 {
        // A restarted agent finds everything there already.
        linux.setup_log_dir().await.unwrap();
        linux.setup_opt_dir().await.unwrap();
        linux
            .setup_data_dir(&JobDir::default(), &RunDir::default())
            .await
            .unwrap();
        linux.setup_tmp_dir().await.unwrap();
        linux.setup_home_dir().await.unwrap();
        linux.setup_blobs_dir().await.unwrap();
        linux.setup_can_restart_dir().await.unwrap();
        linux.setup_monit_user().await.unwrap();
    }
    assert!(
        m.read("etc/hosts")
            .starts_with("127.0.0.1 agent-1 localhost\n")
    );
    assert_eq!(m.read("etc/hostname"), "agent-1");
    assert_eq!(
        m.read("var/vcap/bosh/agent_state.json"),
        r#"{"Linux":{"hosts_configured":true}}"#
    );
    linux.setup_hostname("another").await.unwrap();
    assert_eq!(
        m.read("etc/hostname"),
        "agent-1",
        "only once: a job may have changed it since"
    );

    for (path, mode, gid) in [
        ("var/vcap/data/sys", 0o755, 1000),
        ("var/vcap/data/sys/log", 0o750, 1000),
        ("var/vcap/data/sys/run", 0o1777, 1000),
        ("var/vcap/data/jobs", 0o750, 1000),
        ("var/vcap/data/packages", 0o755, 1000),
        ("var/vcap/data/blobs", 0o700, 1000),
        ("var/vcap/data/sensitive_blobs", 0o700, 1000),
        ("var/vcap/data/dynamic_disks", 0o700, 1000),
        ("var/vcap/data/tmp", 0o755, 0),
        ("tmp", 0o1777, 1000),
        ("var/tmp", 0o1777, 1000),
        ("var/log/audit", 0o750, 0),
        ("var/log/btmp", 0o600, 0),
    ] {
        assert_eq!(m.owner(path), (mode, 0, gid), "{path}");
    }
    assert_eq!(
        m.path("var/vcap/sys").read_link().unwrap(),
        m.path("var/vcap/data/sys")
    );
    let mounts = mounts::Mounts::read().unwrap();
    for point in [
        "var/log",
        "opt",
        "var/opt",
        "home",
        "var/vcap/data/sys/run",
        "var/vcap/bosh/canrestart",
    ] {
        assert!(mounts.at(&m.path(point)).is_some(), "{point}");
    }
    assert!(mounts.at(&m.path("tmp")).is_none());
    fs::write(m.path("var/log/syslog"), "x").unwrap();
    assert_eq!(m.read("var/vcap/data/root_log/syslog"), "x");

    let (user, password) = linux.monit_credentials().unwrap();
    assert_eq!(user, "vcap");
    assert!(password.len() >= 32 && m.owner("var/vcap/monit/monit.user").0 == 0o600);
}

#[tokio::test]
async fn jobs_may_be_kept_in_memory() {
    let m = Machine::new(warden());
    m.linux.setup_ephemeral_disk(None, None, "x").await.unwrap();
    let job_dir = JobDir {
        tmpfs: true,
        tmpfs_size: "2m".to_owned(),
    };
    m.linux
        .setup_data_dir(
            &job_dir,
            &RunDir {
                tmpfs_size: "1m".to_owned(),
            },
        )
        .await
        .unwrap();
    let mounts = mounts::Mounts::read().unwrap();
    for (dir, kib) in [("jobs", 2048), ("sensitive_blobs", 2048), ("sys/run", 1024)] {
        let path = m.path("var/vcap/data").join(dir);
        assert_eq!(
            mounts.at(&path).map(|mount| mount.kind.as_str()),
            Some("tmpfs"),
            "{dir}"
        );
        let stat = nix::sys::statvfs::statvfs(&path).unwrap();
        assert_eq!(
            stat.blocks() as u64 * stat.fragment_size() as u64 / 1024,
            kib,
            "{dir}"
        );
    }
}

#[tokio::test]
async fn tmp_moves_to_the_ephemeral_disk_unless_told_otherwise() {
    let m = Machine::new(Options {
        use_default_tmp_dir: false,
        ..warden()
    });
    m.linux.setup_ephemeral_disk(None, None, "x").await.unwrap();
    m.linux.setup_tmp_dir().await.unwrap();
    fs::write(m.path("tmp/a"), "x").unwrap();
    assert_eq!(m.read("var/vcap/data/root_tmp/a"), "x");
    assert_eq!(m.read("var/tmp/a"), "x");
    fs::write(m.path("tmp/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(m.path("tmp/run"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        std::process::Command::new(m.path("tmp/run"))
            .output()
            .is_err(),
        "noexec"
    );
}

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
    partition::write_table(&many.device, true, &[wanted(Some(20 << 20)), wanted(None)])
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

#[tokio::test]
async fn ssh_users_come_and_go() {
    let m = Machine::new(warden());
    let linux = &m.linux;
    let base = linux.dirs().bosh_ssh();
    linux.create_user("bosh_0a1b2c", &base).await.unwrap();
    linux
        .add_user_to_groups("bosh_0a1b2c", &crate::platform::SSH_GROUPS)
        .await
        .unwrap();
    linux
        .setup_ssh(
            &[
                "ssh-ed25519 AAAA one".to_owned(),
                "ssh-rsa BBBB two".to_owned(),
            ],
            "bosh_0a1b2c",
        )
        .await
        .unwrap();
    assert!(
        m.read("etc/passwd")
            .contains(":/var/vcap/bosh_ssh/bosh_0a1b2c:/bin/bash")
    );
    let groups = m.read("etc/group");
    for group in ["vcap", "admin", "bosh_sudoers", "bosh_sshers"] {
        let member = groups
            .lines()
            .any(|l| l.starts_with(&format!("{group}:")) && l.ends_with(":bosh_0a1b2c"));
        assert!(member, "{group} in {groups}");
    }
    let home = "var/vcap/bosh_ssh/bosh_0a1b2c";
    let (_, uid, gid) = m.owner(home);
    assert!(uid >= 1000);
    assert_eq!(m.owner(home), (0o700, uid, gid));
    assert_eq!(m.owner(&format!("{home}/.ssh")), (0o700, uid, gid));
    assert_eq!(
        m.owner(&format!("{home}/.ssh/authorized_keys")),
        (0o600, uid, gid)
    );
    assert_eq!(
        m.read(&format!("{home}/.ssh/authorized_keys")),
        "ssh-ed25519 AAAA one\nssh-rsa BBBB two"
    );

    linux.create_user("bosh_other", &base).await.unwrap();
    linux
        .delete_ephemeral_users_matching("^bosh_0a1b2c$")
        .await
        .unwrap();
    let passwd = m.read("etc/passwd");
    assert!(!passwd.contains("bosh_0a1b2c") && passwd.contains("bosh_other"));
    assert!(!m.path(home).exists());
    linux.delete_ephemeral_users_matching(".*").await.unwrap();
    let passwd = m.read("etc/passwd");
    assert!(!passwd.contains("bosh_other") && passwd.contains("vcap:") && passwd.contains("root:"));

    assert!(linux.delete_ephemeral_users_matching("(").await.is_err());
    assert!(linux.create_user("-evil", &base).await.is_err());
    assert!(linux.create_user("a:b", &base).await.is_err());
    assert!(linux.setup_ssh(&[], "nobody-here").await.is_err());
    assert!(linux.host_public_key().await.is_err());
}

#[tokio::test]
async fn passwords_are_set_and_locked() {
    let m = Machine::new(warden());
    m.linux
        .set_user_password("vcap", "$6$salt$hash")
        .await
        .unwrap();
    m.linux.set_user_password("root", "").await.unwrap();
    let shadow = m.read("etc/shadow");
    assert!(
        shadow.contains("vcap:$6$salt$hash:") && shadow.contains("root:*:"),
        "{shadow}"
    );
    let error = m
        .linux
        .set_user_password("nobody-here", "$6$secret")
        .await
        .unwrap_err();
    assert!(!crate::jobs::chain(&error).contains("$6$secret"));
}

#[tokio::test]
async fn dns_records_become_hosts() {
    let m = Machine::new(warden());
    let linux = &m.linux;
    assert_eq!(linux.dns_records_version().await, None);
    let blob = |version: u64| {
        format!(
            r#"{{"version":{version},"Version":{version},"records":[["10.0.0.5","uuid.redis.default.d.bosh"],["10.0.0.6","x y"],["","z"]],"record_keys":["id"]}}"#
        )
    };
    // The director writes it once; both spellings would be a duplicate.
    let blob = |version| blob(version).replace(&format!(r#""version":{version},"#), "");
    linux
        .sync_dns(blob(3).as_bytes(), 3, "agent-1")
        .await
        .unwrap();
    let hosts = m.read("etc/hosts");
    assert!(
        hosts.starts_with("127.0.0.1 agent-1 localhost\n"),
        "{hosts}"
    );
    assert!(
        hosts.ends_with("ff02::3 ip6-allhosts\n10.0.0.5 uuid.redis.default.d.bosh\n"),
        "{hosts}"
    );
    assert_eq!(m.read("var/vcap/instance/dns/records.json"), blob(3));
    assert_eq!(
        m.owner("var/vcap/instance/dns/records.json"),
        (0o640, 0, 1000)
    );
    assert_eq!(linux.dns_records_version().await, Some(3));

    linux
        .sync_dns(b"not even looked at", 2, "agent-1")
        .await
        .unwrap();
    assert_eq!(
        linux.dns_records_version().await,
        Some(3),
        "older records are ignored"
    );
    let error = linux
        .sync_dns(blob(5).as_bytes(), 4, "agent-1")
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not match version supplied by director")
    );
    assert!(linux.sync_dns(b"{", 4, "agent-1").await.is_err());
    assert_eq!(linux.dns_records_version().await, Some(3));
    assert_eq!(
        fs::read_dir(m.path("var/vcap/instance/dns"))
            .unwrap()
            .count(),
        1
    );
}

#[tokio::test]
async fn trusted_certificates_are_replaced() {
    let m = Machine::new(warden());
    let dir = "usr/local/share/ca-certificates";
    fs::create_dir_all(m.path(dir)).unwrap();
    fs::write(m.path(dir).join("theirs.crt"), "kept").unwrap();
    let cert = |n: u8| format!("-----BEGIN CERTIFICATE-----\n{n}\n-----END CERTIFICATE-----");
    let names = || {
        let mut names: Vec<String> = fs::read_dir(m.path(dir))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    m.linux
        .update_trusted_certificates(&format!("{}\n{}\n", cert(1), cert(2)))
        .await
        .unwrap();
    assert_eq!(
        names(),
        [
            "bosh-trusted-cert-1.crt",
            "bosh-trusted-cert-2.crt",
            "theirs.crt"
        ]
    );
    assert_eq!(m.read(&format!("{dir}/bosh-trusted-cert-2.crt")), cert(2));
    m.linux.update_trusted_certificates(&cert(3)).await.unwrap();
    assert_eq!(m.read(&format!("{dir}/bosh-trusted-cert-1.crt")), cert(3));
    m.linux.update_trusted_certificates("").await.unwrap();
    assert_eq!(names(), ["theirs.crt"]);
}

#[tokio::test]
async fn networks_that_are_set_up_get_resolvers_only() {
    let networks = |json: serde_json::Value| serde_json::from_value::<Networks>(json).unwrap();
    let m = Machine::new(warden());
    let set_up = networks(
        serde_json::json!({"default": {"ip": "10.244.0.5", "preconfigured": true, "dns": ["8.8.8.8", "1.1.1.1"]}}),
    );
    m.linux.setup_networking(&set_up, &[]).await.unwrap();
    assert_eq!(
        m.read("etc/resolv.conf"),
        "# Generated by bosh-agent\nnameserver 8.8.8.8\nnameserver 1.1.1.1\n"
    );
    let without =
        networks(serde_json::json!({"default": {"ip": "10.244.0.5", "preconfigured": true}}));
    m.linux.setup_networking(&without, &[]).await.unwrap();
    assert!(
        m.read("etc/resolv.conf").contains("8.8.8.8"),
        "what was there stays"
    );
    let bad = networks(
        serde_json::json!({"default": {"preconfigured": true, "dns": ["8.8.8.8\nsearch evil"]}}),
    );
    assert!(m.linux.setup_networking(&bad, &[]).await.is_err());

    let m = Machine::new(Options {
        service_manager: "systemd".to_owned(),
        ..Options::default()
    });
    let net = m.path("sys/class/net/eth0");
    fs::create_dir_all(net.join("device")).unwrap();
    fs::write(net.join("address"), "52:54:00:00:00:01\n").unwrap();
    fs::create_dir_all(m.path("etc/systemd/network")).unwrap();
    fs::write(m.path("etc/systemd/network/20_stale.network"), "").unwrap();
    let manual = networks(
        serde_json::json!({"a": {"ip": "10.0.0.5", "netmask": "255.255.255.0", "gateway": "10.0.0.1",
        "default": ["dns", "gateway"], "dns": ["8.8.8.8"], "mac": "52:54:00:00:00:01"}}),
    );
    m.linux.setup_networking(&manual, &[]).await.unwrap();
    assert!(
        m.read("etc/systemd/network/10_eth0.network")
            .contains("Address=10.0.0.5/24\nBroadcast=10.0.0.255\n")
    );
    assert!(!m.path("etc/systemd/network/20_stale.network").exists());
    assert!(
        m.read("etc/systemd/resolved.conf.d/10-bosh.conf")
            .ends_with("DNS=8.8.8.8\n")
    );
    assert_eq!(m.linux.configured_interfaces().await.unwrap(), ["eth0"]);
}

#[tokio::test]
async fn listed_files_are_removed() {
    let m = Machine::new(warden());
    m.linux.remove_dev_tools().await.unwrap();
    fs::create_dir_all(m.path("usr/bin")).unwrap();
    fs::create_dir_all(m.path("usr/lib/gcc/x")).unwrap();
    fs::write(m.path("usr/bin/gcc"), "").unwrap();
    fs::create_dir_all(m.path("var/vcap/bosh/etc")).unwrap();
    fs::write(
        m.path("var/vcap/bosh/etc/dev_tools_file_list"),
        "/usr/bin/gcc\n/usr/lib/gcc\n/not/there\n\n",
    )
    .unwrap();
    m.linux.remove_dev_tools().await.unwrap();
    assert!(!m.path("usr/bin/gcc").exists() && !m.path("usr/lib/gcc").exists());
    assert!(m.path("usr/lib").exists());
}

#[tokio::test]
async fn job_logs_are_rotated() {
    let m = Machine::new(warden());
    m.linux.setup_logrotate("vcap", "10M").await.unwrap();
    let text = m.read("etc/logrotate.d/vcap");
    let base = m.root.path().display();
    assert!(
        text.starts_with(&format!(
            "# Generated by bosh-agent\n\n{base}/var/vcap/data/sys/log/*.log "
        )),
        "{text}"
    );
    assert!(
        text.contains("  rotate 7\n  compress\n  copytruncate\n  size=10M\n}"),
        "{text}"
    );
}
