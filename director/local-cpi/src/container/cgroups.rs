//! Makes the control groups visible where the runtime looks for them. Under `ip netns exec` they are not: it mounts a
//! fresh /sys over the one that has them.

use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::Error;
use crate::error::Context;

const ROOT: &str = "/sys/fs/cgroup";

/// A mount to make: file system type, options, folder under [`ROOT`].
#[derive(Debug, Eq, PartialEq)]
struct Hierarchy {
    kind: &'static str,
    options: String,
    folder: String,
}

/// Mounts what is missing. The calling thread has a mount namespace of its own.
pub(super) fn ensure_visible() -> Result<(), Error> {
    let read =
        |path: &str| std::fs::read_to_string(path).context(|| format!("could not read '{path}'"));
    let table = read("/proc/thread-self/mountinfo")?;
    if is_visible(&table) {
        return Ok(());
    }
    let hierarchies = plan(&read("/proc/thread-self/cgroup")?);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let unified_only = matches!(hierarchies.as_slice(), [only] if only.folder.is_empty());
    if !unified_only {
        mount(Some("tmpfs"), ROOT, Some("tmpfs"), flags, Some("mode=755"))
            .context(|| format!("could not mount a tmpfs at '{ROOT}'"))?;
    }
    for hierarchy in hierarchies {
        let target = Path::new(ROOT).join(&hierarchy.folder);
        std::fs::create_dir_all(&target)
            .context(|| format!("could not make '{}'", target.display()))?;
        mount(
            Some("cgroup"),
            &target,
            Some(hierarchy.kind),
            flags,
            Some(hierarchy.options.as_str()),
        )
        .context(|| format!("could not mount control groups at '{}'", target.display()))?;
    }
    Ok(())
}

/// Whether a mount table has control groups under [`ROOT`].
fn is_visible(table: &str) -> bool {
    table.lines().any(|line| {
        let mounted_below = line
            .split(' ')
            .nth(4)
            .is_some_and(|point| point.starts_with(ROOT));
        let kind = line
            .split(" - ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        mounted_below && matches!(kind, Some("cgroup" | "cgroup2"))
    })
}

/// From `/proc/self/cgroup`: `8:pids:/`, `3:cpu,cpuacct:/`, `1:name=systemd:/`, `0::/`.
fn plan(groups: &str) -> Vec<Hierarchy> {
    let controllers: Vec<&str> = groups
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .collect();
    let unified_only = controllers.iter().all(|names| names.is_empty());
    controllers
        .into_iter()
        .map(|names| match names {
            "" => Hierarchy {
                kind: "cgroup2",
                options: String::new(),
                folder: if unified_only {
                    String::new()
                } else {
                    "unified".into()
                },
            },
            names => Hierarchy {
                kind: "cgroup",
                options: match names.strip_prefix("name=") {
                    Some(_) => format!("none,{names}"),
                    None => names.to_owned(),
                },
                folder: names.trim_start_matches("name=").to_owned(),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_the_hybrid_layout() {
        let plan = plan("3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/\n");
        let seen: Vec<_> = plan
            .iter()
            .map(|h| (h.kind, h.options.as_str(), h.folder.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("cgroup", "cpu,cpuacct", "cpu,cpuacct"),
                ("cgroup", "none,name=systemd", "systemd"),
                ("cgroup2", "", "unified"),
            ]
        );
    }

    #[test]
    fn the_unified_layout_is_one_mount() {
        let plan = plan("0::/user.slice\n");
        assert_eq!(plan.len(), 1);
        assert_eq!((plan[0].kind, plan[0].folder.as_str()), ("cgroup2", ""));
    }

    #[test]
    fn tables_are_understood() {
        assert!(is_visible(
            "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids"
        ));
        assert!(is_visible(
            "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
        ));
        assert!(!is_visible("30 25 0:26 / /sys rw - sysfs sysfs rw"));
        assert!(!is_visible(
            "30 25 0:26 / /elsewhere rw - cgroup2 cgroup2 rw"
        ));
    }
}
