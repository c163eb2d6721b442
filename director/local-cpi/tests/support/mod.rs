//! A machine of its own for one test: a network namespace, a root directory, the program.
//!
//! Needs root, `ip`, `runc`, `nsenter` and a static busybox (Debian package `busybox-static`).
#![expect(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long to wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
    netns: String,
    /// All VMs made here.
    vms: std::sync::Mutex<Vec<String>>,
}

impl Machine {
    pub(crate) fn new(backend: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make containers and need root"
        );
        for program in ["ip", "runc", "nsenter"] {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output()
                .unwrap();
            assert!(
                found.status.success(),
                "these tests need '{program}' in PATH"
            );
        }
        let netns = format!("cpi-{}", uuid::Uuid::new_v4().simple());
        let netns = netns[..14].to_owned();
        assert!(
            run(Command::new("ip").args(["netns", "add", &netns])).0,
            "cannot make a network namespace"
        );
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
            netns,
            vms: std::sync::Mutex::default(),
        };
        machine.exec(&["ip", "link", "set", "lo", "up"]);
        machine.configure(
            backend,
            json!({"bridge": "br-test", "gateway": "10.244.0.1/24"}),
        );
        machine
    }

    /// Writes the CPI's configuration anew.
    pub(crate) fn configure(&self, backend: &str, network: Value) {
        let config = json!({
            "root": self.root(),
            "agent": {"mbus": "nats://10.244.0.1:4222", "ntp": []},
            "network": network,
            "disk_backend": backend,
        });
        std::fs::write(self.dir.path().join("cpi.json"), config.to_string()).unwrap();
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn command(&self) -> Command {
        // As `ip netns exec`, each call gets a mount namespace of its own: nothing may depend on mounts of an earlier one.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns]);
        command
    }

    /// Runs a program in the network namespace.
    pub(crate) fn exec(&self, args: &[&str]) -> String {
        let (ok, out) = run(self.command().args(args));
        assert!(ok, "{args:?}: {out}");
        out
    }

    fn cpi(&self) -> Command {
        let mut command = self.command();
        command
            .arg(env!("CARGO_BIN_EXE_bosh-local-cpi"))
            .arg("--config")
            .arg(self.dir.path().join("cpi.json"));
        command
    }

    /// Calls a method and returns the whole response.
    pub(crate) fn answer(&self, method: &str, arguments: Value) -> Value {
        use std::io::Write;
        let request = json!({
            "method": method, "arguments": arguments, "context": {"director_uuid": "d", "request_id": "cpi-1"}, "api_version": 2,
        });
        let mut child = self
            .cpi()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(request.to_string().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        eprintln!("{method}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{method}: {error}: {}",
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }

    /// Calls a method that must succeed.
    pub(crate) fn call(&self, method: &str, arguments: Value) -> Value {
        let answer = self.answer(method, arguments);
        assert_eq!(answer["error"], Value::Null, "{method}");
        if let ("create_vm", Some(cid)) = (method, answer["result"][0].as_str()) {
            self.vms.lock().unwrap().push(cid.to_owned());
        }
        answer["result"].clone()
    }

    /// Calls a method that must fail and returns the error.
    pub(crate) fn refuse(&self, method: &str, arguments: Value) -> Value {
        let answer = self.answer(method, arguments);
        assert_ne!(
            answer["error"],
            Value::Null,
            "{method} succeeded with {}",
            answer["result"]
        );
        assert_eq!(answer["result"], Value::Null);
        answer["error"].clone()
    }

    /// Imports an image with busybox and a script as process 1.
    pub(crate) fn stemcell(&self, init: &str) -> String {
        let image = self.dir.path().join("image");
        std::fs::write(&image, image_with(init)).unwrap();
        let cid = self.call(
            "create_stemcell",
            json!([image, {"infrastructure": "warden"}]),
        );
        cid.as_str().unwrap().to_owned()
    }

    /// Makes a VM with the address `10.244.0.<last>`.
    pub(crate) fn vm(&self, stemcell: &str, last: u8, properties: Value) -> String {
        let result = self.call("create_vm", create_vm(stemcell, last, properties));
        result[0].as_str().unwrap().to_owned()
    }

    /// The process id of a VM's process 1.
    pub(crate) fn pid(&self, vm: &str) -> i32 {
        let out = self.exec(&[
            "runc",
            "--root",
            self.root().join("runc").to_str().unwrap(),
            "state",
            vm,
        ]);
        let state: Value = serde_json::from_str(&out).unwrap();
        i32::try_from(state["pid"].as_i64().unwrap()).unwrap()
    }

    /// Runs a shell line in a VM.
    pub(crate) fn in_vm(&self, vm: &str, line: &str) -> (bool, String) {
        let pid = self.pid(vm).to_string();
        run(Command::new("nsenter").args(["-t", &pid, "-a", "/bin/sh", "-c", line]))
    }

    /// Runs a shell line in a VM that must succeed.
    pub(crate) fn sh(&self, vm: &str, line: &str) -> String {
        let (ok, out) = self.in_vm(vm, line);
        assert!(ok, "{line}: {out}");
        out.trim().to_owned()
    }

    /// Fails if anything of this machine is left outside of its directory.
    pub(crate) fn assert_clean(&self) {
        let root = self.root().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&root), "mounts are left: {mounts}");
        let links = self.exec(&["ip", "-o", "link"]);
        assert_eq!(
            links.lines().filter(|line| !line.contains(": lo:")).count(),
            0,
            "{links}"
        );
        let groups = run(Command::new("find").args([
            "/sys/fs/cgroup",
            "-maxdepth",
            "2",
            "-name",
            "bosh-c-*",
        ]))
        .1;
        let ours = |path: &&str| {
            self.vms
                .lock()
                .unwrap()
                .iter()
                .any(|vm| path.ends_with(vm.as_str()))
        };
        assert_eq!(groups.lines().find(ours), None, "a control group is left");
        wait("loop devices to go", || {
            std::fs::read_dir("/sys/block")
                .unwrap()
                .flatten()
                .filter_map(|entry| {
                    std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()
                })
                .all(|file| !file.contains(&root))
        });
    }

    pub(crate) fn cleanup(&self) {
        let (ok, out) = run(self.cpi().arg("cleanup"));
        assert!(ok, "{out}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let (cleaned, out) = run(self.cpi().arg("cleanup"));
        let (deleted, more) = run(Command::new("ip").args(["netns", "del", &self.netns]));
        if !std::thread::panicking() {
            assert!(cleaned && deleted, "{out} {more}");
        }
    }
}

/// The arguments of `create_vm`.
pub(crate) fn create_vm(stemcell: &str, last: u8, properties: Value) -> Value {
    json!([
        format!("agent-{last}"),
        stemcell,
        properties,
        {"default": {
            "type": "manual", "ip": format!("10.244.0.{last}"), "netmask": "255.255.255.0", "gateway": "10.244.0.1",
            "dns": ["10.244.0.1"], "default": ["dns", "gateway"], "cloud_properties": {},
        }},
        [],
        {"bosh": {"password": "*"}},
    ])
}

/// Process 1 that does nothing and does not end.
pub(crate) const IDLE: &str = "#!/bin/busybox sh\nexec /bin/busybox sleep 1000000\n";

fn busybox() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"]
        .iter()
        .map(PathBuf::from)
        .find(|path| std::fs::read(path).is_ok_and(|elf| is_static(&elf)))
        .unwrap_or_else(|| {
            panic!("these tests need a static busybox (apt-get install busybox-static)")
        })
}

/// Whether a 64 bit ELF file asks for no interpreter (PT_INTERP, 3).
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        elf[at..at + size]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).all(|index| number(headers + index * size, 4) != 3)
}

/// A gzipped tar of a root filesystem.
fn image_with(init: &str) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(encoder);
    let header = |kind, mode| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(0);
        header
    };
    for dir in [
        "./",
        "./bin/",
        "./etc/",
        "./usr/",
        "./usr/sbin/",
        "./proc/",
        "./sys/",
        "./dev/",
        "./tmp/",
        "./var/",
    ] {
        let mut header = header(tar::EntryType::Directory, 0o755);
        tar.append_data(&mut header, dir, std::io::empty()).unwrap();
    }
    let busybox = std::fs::read(busybox()).unwrap();
    for (path, bytes) in [
        ("./bin/busybox", busybox.as_slice()),
        ("./usr/sbin/runsvdir-start", init.as_bytes()),
    ] {
        let mut header = header(tar::EntryType::Regular, 0o755);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    for tool in [
        "sh", "cat", "ip", "mount", "umount", "mkdir", "df", "ping", "ls", "hostname", "sleep",
        "stat", "grep", "dd", "sync", "nproc",
    ] {
        let mut header = header(tar::EntryType::Symlink, 0o777);
        tar.append_link(&mut header, format!("./bin/{tool}"), "busybox")
            .unwrap();
    }
    // A stemcell may link this anywhere; the CPI must not follow it.
    let mut link = header(tar::EntryType::Symlink, 0o777);
    tar.append_link(&mut link, "./etc/resolv.conf", "/run/none/resolv.conf")
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

/// Polls until `condition` holds.
pub(crate) fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    (output.status.success(), text)
}
