//! The real agent with the machine's real disks: it runs as on a VM, below a root of its own, in namespaces of its own, with
//! loop devices as the disks that a CPI attaches. Needs root, as the agent does.

#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

#[expect(dead_code, reason = "these tests need a part of it")]
mod support;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use support::agent::{Director, ID};
use support::nats::Nats;
use support::release;

/// A disk that a CPI attaches: a sparse file as a block device.
struct Disk {
    file: tempfile::NamedTempFile,
    device: String,
}

impl Disk {
    fn new(mebibytes: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(mebibytes << 20).unwrap();
        let device = run("losetup", &["-f", "--show", file.path().to_str().unwrap()]);
        Self {
            file,
            device: device.trim().to_owned(),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still holds it goes with the namespace, and it then goes by itself.
        for (program, flag) in [("partx", "-d"), ("losetup", "-d")] {
            let _ = Command::new(program).args([flag, &self.device]).output();
        }
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A machine whose root is a copy of this one's, with an ephemeral disk.
struct Vm {
    nats: Nats,
    process: Option<Child>,
    ephemeral: Disk,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl Vm {
    async fn boot() -> (Self, Director) {
        let namespaces =
            CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
        unshare(namespaces).expect("these tests need root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        run("ip", &["link", "set", "lo", "up"]);

        // The upper layer must not lie in the lower one.
        let dir = tempfile::tempdir().unwrap();
        mount(
            Some("tmpfs"),
            dir.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        let place = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (upper, work, root) = (place("upper"), place("work"), place("root"));
        let (upper, work) = (upper.display(), work.display());
        let layers = format!("lowerdir=/,upperdir={upper},workdir={work}");
        mount(
            Some("overlay"),
            &root,
            Some("overlay"),
            MsFlags::empty(),
            Some(layers.as_str()),
        )
        .unwrap();
        for shared in ["proc", "dev", "sys"] {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(&Path::new("/").join(shared)),
                &root.join(shared),
                none,
                flags,
                none,
            )
            .unwrap();
        }
        let program = root.join("bosh-agent");
        fs::write(&program, "").unwrap();
        let built = env!("CARGO_BIN_EXE_bosh-agent");
        mount(Some(built), &program, none, MsFlags::MS_BIND, none).unwrap();

        let mut vm = Self {
            nats: Nats::start(&[ID]).await,
            process: None,
            ephemeral: Disk::new(400),
            root,
            _dir: dir,
        };
        vm.stemcell();
        vm.start();
        let mut director = Director::connect(&vm.nats).await;
        director.wait_until_ready().await;
        (vm, director)
    }

    /// What a stemcell has and this machine may lack, or has and a stemcell does not.
    fn stemcell(&self) {
        for (file, line) in [
            ("passwd", "vcap:x:1000:1000::/home/vcap:/bin/sh"),
            ("shadow", "vcap:*:19000:0:99999:7:::"),
            ("group", "vcap:x:1000:"),
        ] {
            let path = self.path("/etc").join(file);
            let there = fs::read_to_string(&path).unwrap();
            let others = there.lines().filter(|line| !line.starts_with("vcap:"));
            let others = others
                .filter(|line| !line.contains(":1000:"))
                .collect::<Vec<_>>();
            fs::write(&path, format!("{}\n{line}\n", others.join("\n"))).unwrap();
        }
        fs::create_dir_all(self.path("/home/vcap")).unwrap();
        for dir in ["usr/bin", "usr/sbin"] {
            // The root filesystem is in layers, and lies on no partition.
            let _ = fs::remove_file(self.root.join(dir).join("growpart"));
        }
        fs::create_dir_all(self.path("/blobs")).unwrap();
        for script in ["bosh-start-logging-and-auditing", "bosh-agent-rc"] {
            self.file(&format!("/var/vcap/bosh/bin/{script}"), "#!/bin/sh\n");
            let path = self.path("/var/vcap/bosh/bin").join(script);
            run("chmod", &["755", path.to_str().unwrap()]);
        }
        let settings = json!({
            "agent_id": ID,
            "networks": {"private": {"type": "manual", "ip": "10.244.0.10", "netmask": "255.255.255.0",
                                     "default": ["gateway", "dns"], "preconfigured": true}},
            "vm": {"name": "vm-1"},
            "disks": {"ephemeral": self.ephemeral.device},
            "env": {"persistent_disk_mount_options": ["noatime"], "bosh": {
                "swap_size": 0,
                "keep_root_password": true,
                "mbus": {"urls": [self.nats.url()], "cert": self.nats.ca.agent(ID).settings()},
                "blobstores": [{"provider": "local", "options": {"blobstore_path": "/blobs"}}],
            }},
        });
        self.file("/env.json", &settings.to_string());
        let source = json!({"Type": "File", "SettingsPath": "/env.json"});
        let config = json!({"Infrastructure": {"Settings": {"Sources": [source]}}});
        self.file("/var/vcap/bosh/agent.json", &config.to_string());
    }

    fn start(&mut self) {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.root.with_file_name("log"))
            .unwrap();
        let process = Command::new("chroot")
            .arg(&self.root)
            .args([
                "/bosh-agent",
                "-P",
                "ubuntu",
                "-C",
                "/var/vcap/bosh/agent.json",
            ])
            .env("BOSH_AGENT_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            process.wait().unwrap();
        }
    }

    /// Everything that is mounted below /var/vcap goes, as by a power cut.
    fn power_cycle(&mut self) {
        self.kill();
        for point in self.mounts().into_iter().map(|mount| mount.1).rev() {
            if !["proc", "dev", "sys"]
                .iter()
                .any(|dir| point.starts_with(self.root.join(dir)))
                && point != self.root
                && point != self.root.join("bosh-agent")
            {
                umount2(&point, MntFlags::MNT_DETACH).unwrap();
            }
        }
        self.start();
    }

    /// What is mounted below the root: source and place.
    fn mounts(&self) -> Vec<(String, PathBuf)> {
        let text = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        let mounts = text.lines().map(|line| {
            let mut fields = line.split(' ').map(str::to_owned);
            (
                fields.next().unwrap(),
                PathBuf::from(fields.next().unwrap()),
            )
        });
        mounts
            .filter(|(_, point)| point.starts_with(&self.root))
            .collect()
    }

    fn mounted_at(&self, point: &str) -> Option<String> {
        let point = self.path(point);
        let mounts = self.mounts();
        mounts
            .into_iter()
            .rev()
            .find(|mount| mount.1 == point)
            .map(|mount| mount.0)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.root.with_file_name("log")).unwrap_or_default();
            let tail = log.lines().rev().take(60).collect::<Vec<_>>();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            eprintln!("--- the end of the agent's log\n{tail}");
        }
        for (_, point) in self.mounts().into_iter().rev() {
            let _ = umount2(&point, MntFlags::MNT_DETACH);
        }
        let _ = umount2(self.root.parent().unwrap(), MntFlags::MNT_DETACH);
    }
}

/// As the director does for a new disk: the CPI has attached it, the agent is told where and mounts it.
async fn attach(director: &mut Director, cid: &str, disk: &Disk) -> Result<Value, String> {
    let hint = json!({"path": disk.device});
    director
        .task("add_persistent_disk", json!([cid, hint]))
        .await?;
    director.task("mount_disk", json!([cid])).await
}

async fn listed(director: &mut Director) -> Vec<String> {
    let list = director.task("list_disk", json!([])).await.unwrap();
    serde_json::from_value(list).unwrap()
}

#[tokio::test]
async fn a_vm_lives_with_its_disks() {
    let (mut vm, mut director) = Vm::boot().await;
    let data = format!("{}p1", vm.ephemeral.device);
    for point in [
        "/var/vcap/data",
        "/tmp",
        "/var/tmp",
        "/var/log",
        "/opt",
        "/var/opt",
    ] {
        assert_eq!(
            vm.mounted_at(point).as_deref(),
            Some(data.as_str()),
            "{point}"
        );
    }
    assert!(listed(&mut director).await.is_empty());

    // A first disk.
    let (one, two) = (Disk::new(200), Disk::new(260));
    assert_eq!(
        attach(&mut director, "disk-1", &one).await.unwrap(),
        json!({})
    );
    assert_eq!(listed(&mut director).await, ["disk-1"]);
    let part = |disk: &Disk| format!("{}p1", disk.device);
    assert_eq!(vm.mounted_at("/var/vcap/store"), Some(part(&one)));
    vm.file("/var/vcap/store/db/rows", "rows");

    // The agent dies, and the VM loses its power: the disk is there again.
    vm.kill();
    vm.start();
    director.wait_until_ready().await;
    assert_eq!(listed(&mut director).await, ["disk-1"]);
    vm.power_cycle();
    director.wait_until_ready().await;
    assert_eq!(vm.mounted_at("/var/vcap/store"), Some(part(&one)));
    assert_eq!(vm.mounted_at("/var/vcap/data"), Some(data));

    // A larger one takes its place.
    attach(&mut director, "disk-2", &two).await.unwrap();
    assert_eq!(
        vm.mounted_at("/var/vcap/store_migration_target"),
        Some(part(&two))
    );
    assert_eq!(listed(&mut director).await, ["disk-1", "disk-2"]);
    assert_eq!(
        director.task("migrate_disk", json!([])).await.unwrap(),
        json!({})
    );
    assert_eq!(vm.mounted_at("/var/vcap/store"), Some(part(&two)));
    assert_eq!(
        fs::read_to_string(vm.path("/var/vcap/store/db/rows")).unwrap(),
        "rows"
    );
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let store = mounts
        .lines()
        .find(|line| line.contains("/var/vcap/store "))
        .unwrap();
    assert!(store.contains("rw,noatime"), "{store}");
    assert_eq!(listed(&mut director).await, ["disk-2"]);
    let message = director
        .task("unmount_disk", json!(["disk-1"]))
        .await
        .unwrap();
    let message = message["message"].as_str().unwrap();
    assert!(
        message.starts_with("Partition of ") && message.ends_with(" is not mounted"),
        "{message}"
    );
    director
        .task("remove_persistent_disk", json!(["disk-1"]))
        .await
        .unwrap();
    let error = director
        .task("mount_disk", json!(["disk-1"]))
        .await
        .unwrap_err();
    assert!(
        error.ends_with("Persistent disk with volume id 'disk-1' could not be found"),
        "{error}"
    );

    // The cloud enlarges it while it is detached: it grows in place.
    director
        .task("unmount_disk", json!(["disk-2"]))
        .await
        .unwrap();
    assert_eq!(vm.mounted_at("/var/vcap/store"), None);
    run("partx", &["-d", &two.device]);
    two.file.as_file().set_len(600 << 20).unwrap();
    run("losetup", &["-c", &two.device]);
    run("partx", &["-u", &two.device]);
    director
        .task("mount_disk", json!(["disk-2"]))
        .await
        .unwrap();
    let size = nix::sys::statvfs::statvfs(&vm.path("/var/vcap/store")).unwrap();
    assert!(size.blocks() * size.fragment_size() > 500 << 20);
    assert_eq!(
        fs::read_to_string(vm.path("/var/vcap/store/db/rows")).unwrap(),
        "rows"
    );

    // A disk that something else manages is only linked to.
    let hint = json!({"path": one.device});
    director
        .task("add_dynamic_disk", json!(["volume-9", hint]))
        .await
        .unwrap();
    let link = vm.path("/var/vcap/data/dynamic_disks/volume-9");
    assert_eq!(fs::read_link(&link).unwrap(), Path::new(&one.device));
    director
        .call("remove_dynamic_disk", json!(["volume-9"]))
        .await
        .unwrap();
    assert!(link.symlink_metadata().is_err());
}

#[tokio::test]
async fn a_full_a_read_only_and_a_vanished_disk() {
    let (vm, mut director) = Vm::boot().await;
    let spec = release::spec(Path::new("/var/vcap"), &vm.root);
    let names = |dir: &str| {
        let entries = fs::read_dir(vm.path(dir)).map(|entries| entries.count());
        entries.unwrap_or_default()
    };

    // Full: what is to be installed is refused, and nothing of it stays.
    let filler = vm.path("/var/vcap/data/filler");
    let file = fs::File::create(&filler).unwrap();
    let mut at = 0;
    for size in [1 << 20, 1 << 10, 1] {
        let block = vec![0; size];
        while let Ok(written @ 1..) = file.write_at(&block, at) {
            at += written as u64;
        }
    }
    drop(file);
    for method in ["prepare", "apply"] {
        let error = director.task(method, json!([spec])).await.unwrap_err();
        assert!(error.contains("No space left on device"), "{error}");
        assert_eq!(
            (
                names("/var/vcap/jobs"),
                names("/var/vcap/data/packages/words")
            ),
            (0, 0)
        );
    }
    let state = director.call("get_state", json!([])).await.unwrap();
    assert_eq!(state["job"]["name"], Value::Null, "{state}");

    // Read-only, as a filesystem is after its device has erred.
    fs::remove_file(&filler).unwrap();
    let data = vm.path("/var/vcap/data");
    let remount = |flags| mount(None::<&str>, &data, None::<&str>, flags, None::<&str>).unwrap();
    remount(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    let error = director.task("prepare", json!([spec])).await.unwrap_err();
    assert!(error.contains("Read-only file system"), "{error}");
    let state = director.call("get_state", json!([])).await.unwrap();
    assert_eq!(state["job"]["name"], Value::Null);
    remount(MsFlags::MS_REMOUNT);
    director.task("apply", json!([spec])).await.unwrap();
    assert!(vm.path("/var/vcap/packages/words").is_symlink());

    // A disk that is not there, and one that goes away while it is mounted.
    let gone = json!({"path": "/dev/no-such-disk"});
    director
        .task("add_persistent_disk", json!(["gone", gone]))
        .await
        .unwrap();
    let error = director
        .task("mount_disk", json!(["gone"]))
        .await
        .unwrap_err();
    assert!(
        error.contains("Adjusting persistent disk partitioning"),
        "{error}"
    );
    assert!(error.contains("/dev/no-such-disk"), "{error}");
    assert!(listed(&mut director).await.is_empty());
    director
        .task("remove_persistent_disk", json!(["gone"]))
        .await
        .unwrap();

    let (old, new) = (Disk::new(100), Disk::new(100));
    attach(&mut director, "old", &old).await.unwrap();
    fs::write(vm.path("/var/vcap/store/rows"), vec![7; 20 << 20]).unwrap();
    nix::unistd::sync();
    attach(&mut director, "new", &new).await.unwrap();
    old.file.as_file().set_len(0).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    run("blockdev", &["--flushbufs", &old.device]);
    let error = director.task("migrate_disk", json!([])).await.unwrap_err();
    assert!(error.contains("Input/output error"), "{error}");
    assert_eq!(listed(&mut director).await, ["new", "old"]);
    for disk in ["old", "new"] {
        let unmounted = director.task("unmount_disk", json!([disk])).await.unwrap();
        let message = unmounted["message"].as_str().unwrap();
        assert!(message.starts_with("Unmounted partition of "), "{message}");
    }
    assert_eq!(director.call("ping", json!([])).await.unwrap(), "pong");
}
