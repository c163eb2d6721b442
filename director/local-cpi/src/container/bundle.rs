//! The container's `config.json`. Source of the format: OCI runtime specification 1.0.2.
//!
//! A VM is as privileged as this process: stemcells and releases mount, make devices, load rules and run containers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Limits;

/// What differs from VM to VM.
pub(super) struct Bundle<'a> {
    pub(super) cid: &'a str,
    /// Process 1, a path inside.
    pub(super) init: &'a str,
    pub(super) rootfs: &'a Path,
    /// What is mounted at /var/vcap/data.
    pub(super) data: &'a Path,
    pub(super) limits: Limits,
    pub(super) capabilities: &'a [String],
    /// Device nodes of this machine to show, besides the usual ones.
    pub(super) devices: &'a [Device],
    /// Kernel modules of this machine, if it has any.
    pub(super) modules: Option<&'a Path>,
}

/// A device node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Device {
    pub(super) path: PathBuf,
    pub(super) block: bool,
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) mode: u32,
}

/// Period of the processor quota in microseconds; the kernel's default.
const PERIOD: u64 = 100_000;

impl Bundle<'_> {
    pub(super) fn config(&self) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": 0, "gid": 0},
                "args": [self.init],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
                "cwd": "/",
                "capabilities": {
                    "bounding": self.capabilities,
                    "effective": self.capabilities,
                    "permitted": self.capabilities,
                    "inheritable": [],
                },
                "noNewPrivileges": false,
            },
            "root": {"path": self.rootfs, "readonly": false},
            "hostname": self.cid,
            "mounts": self.mounts(),
            "linux": {
                "namespaces": [
                    {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                    {"type": "network"}, {"type": "cgroup"},
                ],
                // From the top, not below this process: VMs outlive whoever called.
                "cgroupsPath": format!("/bosh-{}", self.cid),
                "resources": self.resources(),
                "devices": self.devices.iter().map(|device| json!({
                    "path": device.path,
                    "type": if device.block { "b" } else { "c" },
                    "major": device.major,
                    "minor": device.minor,
                    "fileMode": device.mode,
                    "uid": 0,
                    "gid": 0,
                })).collect::<Vec<_>>(),
                "rootfsPropagation": "private",
            },
        })
    }

    fn mounts(&self) -> Vec<Value> {
        let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
        let mut mounts = vec![
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount(
                "/dev",
                "tmpfs",
                &["nosuid", "strictatime", "mode=755", "size=65536k"],
            ),
            mount(
                "/dev/pts",
                "devpts",
                &[
                    "nosuid",
                    "noexec",
                    "newinstance",
                    "ptmxmode=0666",
                    "mode=0620",
                    "gid=5",
                ],
            ),
            mount("/dev/shm", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev"]),
            mount(
                "/sys/fs/cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "rw"],
            ),
            json!({"destination": "/var/vcap/data", "type": "bind", "source": self.data, "options": ["bind", "rw"]}),
        ];
        if let Some(modules) = self.modules {
            mounts.push(json!({
                "destination": "/usr/lib/modules", "type": "bind", "source": modules, "options": ["bind", "ro"],
            }));
        }
        mounts
    }

    fn resources(&self) -> Value {
        let mut resources = json!({"devices": [{"allow": true, "access": "rwm"}]});
        if let Some(memory) = self.limits.memory {
            resources["memory"] = json!({"limit": memory << 20});
        }
        if let Some(cpus) = self.limits.cpus {
            resources["cpu"] = json!({
                "shares": ((cpus * 1024.0) as u64).clamp(2, 262_144),
                "quota": (cpus * PERIOD as f64) as u64,
                "period": PERIOD,
            });
        }
        if let Some(pids) = self.limits.pids {
            resources["pids"] = json!({"limit": pids});
        }
        resources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(limits: Limits) -> Value {
        Bundle {
            cid: "c-1",
            init: "/sbin/init",
            rootfs: Path::new("/r/vms/c-1/rootfs"),
            data: Path::new("/r/vms/c-1/data"),
            limits,
            capabilities: &["CAP_CHOWN".into()],
            devices: &[Device {
                path: "/dev/loop-control".into(),
                block: false,
                major: 10,
                minor: 237,
                mode: 0o660,
            }],
            modules: None,
        }
        .config()
    }

    #[test]
    fn limits_become_resources() {
        let config = config(Limits {
            memory: Some(512),
            cpus: Some(1.5),
            pids: Some(100),
        });
        let resources = &config["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], 512 << 20);
        assert_eq!(resources["cpu"]["quota"], 150_000);
        assert_eq!(resources["cpu"]["shares"], 1536);
        assert_eq!(resources["pids"]["limit"], 100);
    }

    #[test]
    fn no_limits_no_resources() {
        let config = config(Limits::default());
        assert_eq!(
            config["linux"]["resources"],
            json!({"devices": [{"allow": true, "access": "rwm"}]})
        );
        assert_eq!(config["process"]["args"], json!(["/sbin/init"]));
        assert_eq!(config["linux"]["cgroupsPath"], "/bosh-c-1");
        assert_eq!(config["linux"]["devices"][0]["type"], "c");
    }
}
