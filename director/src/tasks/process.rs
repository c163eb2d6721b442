//! Which process runs a task, so that others can tell whether it still lives.

use std::io::Write as _;
use std::path::Path;

use uuid::Uuid;

/// A process of a director. Its name is what `delayed_jobs.locked_by` has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) host: String,
    pub(super) pid: u32,
    /// In clock ticks since boot: a pid may come back, with another start.
    started: u64,
    /// The boot and the namespace that the pid is of: two containers may have the same host name.
    kernel: String,
}

impl Process {
    pub(super) fn current() -> Self {
        let host = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let namespace: String = namespace
            .display()
            .to_string()
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let pid = std::process::id();
        Self {
            host: host.replace(' ', "-"),
            pid,
            started: start_of(pid).unwrap_or(0),
            kernel: format!("{}.{namespace}", boot.trim()),
        }
    }

    pub(super) fn name(&self) -> String {
        format!(
            "host:{} pid:{} started:{} kernel:{}",
            self.host, self.pid, self.started, self.kernel
        )
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(' ');
        let mut part = |key: &str| parts.next()?.strip_prefix(key);
        Some(Self {
            host: part("host:")?.to_owned(),
            pid: part("pid:")?.parse().ok()?,
            started: part("started:")?.parse().ok()?,
            kernel: part("kernel:")?.to_owned(),
        })
    }

    /// Whether this kernel can tell if it lives.
    pub(super) fn is_near(&self, me: &Self) -> bool {
        self.host == me.host && self.kernel == me.kernel
    }

    /// Whether it lives; only for one that is near.
    pub(super) fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }
}

/// Field 22 of /proc/PID/stat; the name in field 2 may contain anything.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// The id of a director's directory, made if need be: what is on its disk is only for processes that share it.
pub(super) fn id_of(directory: &Path) -> std::io::Result<String> {
    let path = directory.join("directory.id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    std::fs::create_dir_all(directory)?;
    let id = Uuid::new_v4().to_string();
    let temporary = directory.join(format!("directory.id.{id}"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    // Whoever comes first wins; the other one takes its id.
    let linked = std::fs::hard_link(&temporary, &path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(id),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(std::fs::read_to_string(&path)?.trim().to_owned())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself_from_its_successor() {
        let me = Process::current();
        assert_eq!(Process::parse(&me.name()), Some(me.clone()));
        assert!(me.is_alive() && me.is_near(&me));
        let successor = Process {
            started: me.started + 1,
            ..me.clone()
        };
        assert!(!successor.is_alive());
        let elsewhere = Process {
            kernel: "other".to_owned(),
            ..me.clone()
        };
        assert!(!elsewhere.is_near(&me));
        assert_eq!(Process::parse("host:a pid:1 worker_3"), None);
    }

    #[test]
    fn a_directory_keeps_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let id = id_of(directory.path()).unwrap();
        assert_eq!(id_of(directory.path()).unwrap(), id);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(id_of(other.path()).unwrap(), id);
    }
}
