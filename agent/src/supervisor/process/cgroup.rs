//! A cgroup for each service, so that whatever its start program brings up is known to be its, however it detaches.
//!
//! They live below `bosh-XXXXXXXX` (a hash of the supervisor's state file): in the cgroup2 hierarchy at its root, so that the
//! services do not end with the unit the supervisor runs in, or, where there is only version 1, in one of its hierarchies below
//! our own place, so that nobody leaves limits that are set there. Controllers are not enabled: only membership is of interest,
//! and version 2 would not let processes stay where there are. What a service moves into cgroups of its own (containers) is
//! not looked at. Where cgroups cannot be made (a read-only mount), processes are known by the mark in their environment alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// Hierarchies of version 1 that take a process without being configured first.
const VERSION_1: &[&str] = &["pids", "freezer", "memory"];

/// The cgroups of a supervisor.
#[derive(Clone, Debug, Default)]
pub(in crate::supervisor) struct Cgroups {
    base: Option<PathBuf>,
}

impl Cgroups {
    /// Those of the supervisor with this state file.
    pub(in crate::supervisor) fn find(state_file: &Path) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let name = format!("bosh-{:08x}", hash(state_file));
        let base = places(&mounts, &own)
            .into_iter()
            .find(|place| place.join(PROCS).exists() && access(place, AccessFlags::W_OK).is_ok())
            .map(|place| place.join(&name));
        if base.is_none() {
            tracing::info!("no cgroups can be made here; processes are known by their environment");
        }
        Self { base }
    }

    #[cfg(test)]
    /// In every hierarchy there is, by its type.
    pub(in crate::supervisor) fn everywhere(name: &str) -> Vec<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let bases = places(&mounts, &own)
            .into_iter()
            .map(|place| place.join(name));
        bases
            .filter(|base| std::fs::create_dir_all(base).is_ok())
            .map(|base| Self { base: Some(base) })
            .collect()
    }

    pub(in crate::supervisor) fn exist(&self) -> bool {
        self.base.is_some()
    }

    /// The cgroup of a service; names may contain anything but blanks.
    fn of(&self, service: &str) -> Option<PathBuf> {
        let name = service.to_ascii_lowercase().replace('/', "%2f");
        Some(self.base.as_ref()?.join(format!("job-{name}")))
    }

    /// Makes the cgroup of a service; a process enters it by writing `0` to the file.
    pub(in crate::supervisor) fn door(&self, service: &str) -> Option<File> {
        let path = self.of(service)?;
        let opened = std::fs::create_dir_all(&path)
            .and_then(|()| File::options().write(true).open(path.join(PROCS)));
        opened
            .inspect_err(|error| tracing::warn!(service, %error, "cannot make a cgroup"))
            .ok()
    }

    /// Who is in it.
    pub(in crate::supervisor) fn members(&self, service: &str) -> Vec<i32> {
        let text = self
            .of(service)
            .and_then(|path| std::fs::read_to_string(path.join(PROCS)).ok())
            .unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes the cgroup of a service, unless somebody is in it.
    pub(in crate::supervisor) fn remove(&self, service: &str) {
        if let Some(path) = self.of(service) {
            // It was never made, or is not empty yet; and there may be others.
            let _ = std::fs::remove_dir(&path);
            let _ = path.parent().map(std::fs::remove_dir);
        }
    }

    /// Removes all cgroups that nobody is in; whether that was all.
    pub(in crate::supervisor) fn tidy(&self) -> bool {
        let Some(base) = &self.base else { return true };
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(entry.path());
        }
        std::fs::remove_dir(base).is_ok() || !base.exists()
    }
}

const PROCS: &str = "cgroup.procs";

/// Where cgroups could be made, the best place first.
fn places(mounts: &str, own: &str) -> Vec<PathBuf> {
    let mut second = Vec::new();
    let mut first = Vec::new();
    for line in mounts.lines() {
        // `41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`
        let Some((place, kind)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = place.split(' ').nth(4) else {
            continue;
        };
        let kind: Vec<&str> = kind.split(' ').collect();
        match kind[..] {
            ["cgroup2", ..] => second.push(PathBuf::from(point)),
            ["cgroup", .., options] => {
                let found = VERSION_1
                    .iter()
                    .position(|name| options.split(',').any(|option| option == *name));
                if let Some(rank) = found {
                    let below = own_path(own, VERSION_1[rank]);
                    first.push((rank, Path::new(point).join(below)));
                }
            }
            _ => {}
        }
    }
    first.sort();
    second.extend(first.into_iter().map(|(_, path)| path));
    second
}

/// From `/proc/self/cgroup`: `8:pids:/some/where`.
fn own_path<'a>(own: &'a str, controller: &str) -> &'a str {
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let path = fields.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    });
    path.unwrap_or("/").trim_start_matches('/')
}

/// FNV-1a: all that is wanted is that two supervisors do not meet.
fn hash(path: &Path) -> u32 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
}

#[cfg(test)]
mod tests {
    use super::{own_path, places};

    #[test]
    fn places_are_found_in_order() {
        let own = "9:name=systemd:/\n8:pids:/a/b\n4:cpu,memory:/m\n0::/user.slice\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n\
                      39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found: Vec<String> = places(mounts, own)
            .into_iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/unified",
                "/sys/fs/cgroup/pids/a/b",
                "/sys/fs/cgroup/memory/m"
            ]
        );
        assert_eq!(own_path(own, "nothing"), "");
        assert!(places("nonsense\n", own).is_empty());
    }
}
