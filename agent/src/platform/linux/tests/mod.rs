//! Against the real kernel: loop devices, mounts, users. Each test has a mount namespace and a root directory of its own,
//! so that nothing reaches the machine it runs on. They need root, sfdisk, mke2fs and mkfs.xfs.

mod boot;
mod devices;
mod disks;
mod ephemeral;
mod failures;
mod firewall;
mod iscsi;
mod loops;
mod media;
mod names;
mod network;

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
    /// With a network of its own, in which there is nothing but `lo` yet, and a /sys that shows it.
    fn with_network(options: Options) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        let machine = Self::new(options);
        let sys = machine.path("sys");
        fs::create_dir(&sys).unwrap();
        mount(
            Some("sysfs"),
            &sys,
            Some("sysfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        run("ip", &["link", "set", "lo", "up"]);
        machine
    }

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

    /// A program among the stemcell's helpers.
    fn helper(&self, name: &str, text: &str) {
        let bin = self.path("var/vcap/bosh/bin");
        fs::create_dir_all(&bin).unwrap();
        // By a program of its own: a child that is started meanwhile must not hold it open for writing.
        let source = self.path("helper");
        fs::write(&source, text).unwrap();
        let (source, target) = (source.to_str().unwrap(), bin.join(name));
        run("install", &["-m", "755", source, target.to_str().unwrap()]);
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A second node of a device.
    fn node(&self, path: &str, device: &Path) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let number = fs::metadata(device).unwrap().rdev();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::sys::stat::mknod(&path, nix::sys::stat::SFlag::S_IFBLK, mode, number).unwrap();
    }

    /// A link in place of a device, a file of sysfs, a directory of it.
    fn link(&self, path: &str, target: impl AsRef<Path>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// A file and the directories it is in.
    fn file(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
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

fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Shows a file in place of the machine's own, to this test only.
fn bind(file: &Path, over: &str) {
    mount(
        Some(file),
        over,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
}
