//! What was measured.

use std::time::Duration;

/// Of a service that is no process, and of the connections of any.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    pub(in crate::supervisor) file: Option<FileFacts>,
    pub(in crate::supervisor) filesystem: Option<FilesystemFacts>,
    pub(in crate::supervisor) system: Option<SystemFacts>,
    pub(in crate::supervisor) ports: Vec<PortFacts>,
    /// Response time of the last ping; `None` if there was no answer.
    pub(in crate::supervisor) pings: Vec<Option<Duration>>,
}

/// Of a file, a directory, a fifo or a mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// The later of modification and change, seconds since the epoch.
    pub(crate) timestamp: u64,
    /// Bytes; of a file only.
    pub(crate) size: Option<u64>,
    /// Of a file whose sum is tested.
    pub(crate) checksum: Option<String>,
}

/// Of a filesystem.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilesystemFacts {
    /// Mount flags.
    pub(crate) flags: u64,
    /// Bytes.
    pub(crate) block_size: u64,
    /// In all.
    pub(crate) blocks: u64,
    /// For anybody.
    pub(crate) blocks_available: u64,
    /// For root.
    pub(crate) blocks_free: u64,
    /// In all; 0 if the filesystem has none.
    pub(crate) inodes: u64,
    /// Free.
    pub(crate) inodes_free: u64,
}

impl FilesystemFacts {
    /// What cannot be had by anybody but root counts as used.
    pub(in crate::supervisor) fn space_percent(&self) -> f64 {
        percent(
            self.blocks.saturating_sub(self.blocks_available),
            self.blocks,
        )
    }

    pub(in crate::supervisor) fn used_bytes(&self) -> u64 {
        self.blocks.saturating_sub(self.blocks_free) * self.block_size
    }

    pub(in crate::supervisor) fn inodes_used(&self) -> u64 {
        self.inodes.saturating_sub(self.inodes_free)
    }

    pub(in crate::supervisor) fn inode_percent(&self) -> f64 {
        percent(self.inodes_used(), self.inodes)
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64 * 100.0
    }
}

/// A tested connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PortFacts {
    /// `host:port` or the path of a socket.
    pub(crate) place: String,
    /// Host; empty for a socket file.
    pub(crate) host: String,
    /// 0 for a socket file.
    pub(crate) port: u16,
    /// Of an HTTP test.
    pub(crate) request: String,
    /// monit's name, upper case.
    pub(crate) protocol: String,
    /// `TCP`, `UDP`, `SSL`.
    pub(crate) transport: &'static str,
    /// `None` if it failed.
    pub(crate) response: Option<Duration>,
}

/// Of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SystemFacts {
    pub(in crate::supervisor) load: [f64; 3],
    pub(in crate::supervisor) cpu_user: f64,
    pub(in crate::supervisor) cpu_system: f64,
    pub(in crate::supervisor) cpu_wait: f64,
    pub(in crate::supervisor) memory_kb: u64,
    pub(in crate::supervisor) memory_percent: f64,
    pub(in crate::supervisor) swap_kb: u64,
    pub(in crate::supervisor) swap_percent: f64,
    ticks: [u64; 4],
}

impl SystemFacts {
    /// Measures; CPU shares are since `before`.
    pub(in crate::supervisor) fn read(before: Option<&Self>) -> Self {
        use crate::supervisor::process::meminfo;
        let mut facts = Self::default();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        for (slot, text) in facts.load.iter_mut().zip(load.split_whitespace()) {
            *slot = text.parse().unwrap_or_default();
        }
        let total = meminfo("MemTotal:");
        facts.memory_kb = total.saturating_sub(meminfo("MemAvailable:"));
        facts.memory_percent = percent(facts.memory_kb, total);
        let swap = meminfo("SwapTotal:");
        facts.swap_kb = swap.saturating_sub(meminfo("SwapFree:"));
        facts.swap_percent = percent(facts.swap_kb, swap);
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .map(|text| text.parse().unwrap_or_default())
            .collect();
        if let [user, nice, system, _, wait, ..] = ticks[..] {
            facts.ticks = [user + nice, system, wait, ticks.iter().sum()];
        }
        if let Some(before) = before {
            let gone = |at: usize| facts.ticks[at].saturating_sub(before.ticks[at]);
            let all = gone(3);
            (facts.cpu_user, facts.cpu_system, facts.cpu_wait) = (
                percent(gone(0), all),
                percent(gone(1), all),
                percent(gone(2), all),
            );
        }
        facts
    }
}

/// statvfs of the filesystem a path is on.
pub(super) fn filesystem(path: &std::path::Path) -> std::io::Result<FilesystemFacts> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok(FilesystemFacts {
        flags: stat.flags().bits(),
        block_size: stat.fragment_size(),
        blocks: stat.blocks(),
        blocks_available: stat.blocks_available(),
        blocks_free: stat.blocks_free(),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}
