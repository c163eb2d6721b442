//! Block devices and programs for these tests.

use super::*;

/// A block device that is a sparse file.
pub(super) struct Loop {
    pub(super) device: PathBuf,
    pub(super) file: tempfile::NamedTempFile,
}

impl Loop {
    pub(super) fn new(mebibytes: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(mebibytes << 20).unwrap();
        let output = run("losetup", &["-f", "--show", file.path().to_str().unwrap()]);
        Self {
            device: PathBuf::from(output.trim()),
            file,
        }
    }

    pub(super) fn enlarge(&self, mebibytes: u64) {
        self.file.as_file().set_len(mebibytes << 20).unwrap();
        run("losetup", &["-c", self.device.to_str().unwrap()]);
    }

    pub(super) fn disk(&self, id: &str) -> DiskSettings {
        DiskSettings {
            id: DiskCid::from(id),
            path: self.device.display().to_string(),
            ..DiskSettings::default()
        }
    }

    pub(super) fn partitions(&self) -> String {
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

pub(super) fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Has these programs, each a script of sh, in place of the machine's own.
pub(super) fn fake_programs(m: &Machine, programs: &[(&str, String)]) {
    let dir = m.path("fake-programs");
    fs::create_dir_all(&dir).unwrap();
    for (name, script) in programs {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for dir in ["/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
            let real = Path::new(dir).join(name);
            if real.exists() {
                mounts::bind(&path, &real).unwrap();
            }
        }
    }
    // It is on every PATH, and this mount is the test's own.
    mounts::bind(&dir, Path::new("/usr/local/sbin")).unwrap();
}
