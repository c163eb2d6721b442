use super::*;

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

#[tokio::test]
async fn what_is_reserved_for_root_counts_as_free() {
    let m = Machine::new(warden());
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(8 << 20).unwrap();
    let path = image.path().to_str().unwrap();
    run(
        "mke2fs",
        &["-q", "-t", "ext2", "-m", "40", "-N", "64", path],
    );
    let data = m.path("var/vcap/data");
    fs::create_dir_all(&data).unwrap();
    run("mount", &["-o", "loop", path, data.to_str().unwrap()]);
    let stat = nix::sys::statvfs::statvfs(&data).unwrap();
    let free = stat.blocks_free() * stat.block_size();
    let half = stat.blocks() * stat.block_size() / 2;
    fs::write(data.join("half"), vec![1; (free - half) as usize]).unwrap();
    nix::unistd::sync();
    let vitals = crate::vitals::Collector::default();
    let vitals = vitals.read(&m.linux).await.unwrap();
    run("umount", &[data.to_str().unwrap()]);
    let (system, ephemeral) = (&vitals.disk["system"], &vitals.disk["ephemeral"]);
    assert_eq!(ephemeral.percent, "50", "as upstream, df would say more");
    // 11 of 64 are the filesystem's own, then there is lost+found's, which is one of them, and the file's.
    assert_eq!(ephemeral.inode_percent, "19");
    assert!(system.percent.parse::<u32>().unwrap() <= 100);
    assert!(!vitals.disk.contains_key("persistent"));
    assert_eq!(vitals.load.len(), 3);
    assert!(vitals.mem.kb.parse::<u64>().unwrap() > 0);
}
