//! The machine's own numbers for heartbeats and `get_state`. Source: upstream platform/vitals, sigar.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bosh_protocol::Vitals;
use bosh_protocol::heartbeat::{CpuVitals, DiskVitals, MemoryVitals, UptimeVitals};
use nix::sys::statvfs::statvfs;
use sysinfo::System;

use crate::platform::{self, Platform};

/// The shares of the CPU are those of at least this long. Upstream takes them every ten seconds.
const CPU_WINDOW: Duration = Duration::from_secs(10);

/// Takes readings; remembers the last one, for CPU time is a difference.
#[derive(Debug, Default)]
pub struct Collector {
    cpu: Mutex<Option<CpuReading>>,
}

impl Collector {
    /// Reads everything now.
    pub async fn read(&self, platform: &dyn Platform) -> Result<Vitals, Error> {
        let mut system = System::new()?;
        system.refresh_memory();
        let load = System::load_average()?;
        Ok(Vitals {
            cpu: self.cpu(),
            disk: disks(platform).await?,
            load: [load.one, load.five, load.fifteen]
                .iter()
                .map(|load| format!("{load:.2}"))
                .collect(),
            mem: memory(
                system
                    .total_memory()
                    .saturating_sub(system.available_memory()),
                system.total_memory(),
            ),
            swap: memory(system.used_swap(), system.total_swap()),
            uptime: UptimeVitals {
                secs: System::uptime()?,
            },
        })
    }

    fn cpu(&self) -> CpuVitals {
        let now = match std::fs::read_to_string("/proc/stat") {
            Ok(stat) => CpuTimes::parse(&stat).unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "read /proc/stat");
                CpuTimes::default()
            }
        };
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = CpuReading::next(cpu.take(), now, Instant::now());
        let vitals = reading.vitals.clone();
        *cpu = Some(reading);
        vitals
    }
}

/// CPU times at some instant, and the shares of the time before that.
#[derive(Clone, Debug)]
struct CpuReading {
    at: Instant,
    times: CpuTimes,
    vitals: CpuVitals,
}

impl CpuReading {
    /// The first one is of all the time since the machine started. One that comes soon after another is that again: a short
    /// while says nothing.
    fn next(before: Option<Self>, times: CpuTimes, at: Instant) -> Self {
        match before {
            Some(before) if at.duration_since(before.at) < CPU_WINDOW => before,
            before => {
                let earlier = before.map(|before| before.times).unwrap_or_default();
                let vitals = times.since(&earlier);
                Self { at, times, vitals }
            }
        }
    }
}

/// What cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is mounted.
    #[error("Getting Disk Stats")]
    Disks(#[from] platform::Error),
    /// The root filesystem.
    #[error("Getting Disk Stats for /")]
    Root(#[source] std::io::Error),
    /// Memory, load or uptime.
    #[error("Getting system stats")]
    System(#[from] sysinfo::Error),
}

/// CPU time since boot in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CpuTimes {
    user: u64,
    sys: u64,
    wait: u64,
    total: u64,
}

impl CpuTimes {
    /// From the first line of /proc/stat: `cpu user nice system idle iowait irq softirq steal ...`.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find(|line| line.starts_with("cpu "))?;
        let times: Vec<u64> = line
            .split_ascii_whitespace()
            .skip(1)
            .map_while(|time| time.parse().ok())
            .collect();
        let [user, nice, sys, _idle, wait, ..] = times[..] else {
            return None;
        };
        // The times of guests, from the ninth on, are in user and nice already.
        Some(Self {
            user: user + nice,
            sys,
            wait,
            total: times.iter().take(8).sum(),
        })
    }

    fn since(&self, earlier: &Self) -> CpuVitals {
        let total = self.total.saturating_sub(earlier.total);
        let share =
            |now: u64, then: u64| format!("{:.1}", percent(now.saturating_sub(then), total));
        CpuVitals {
            sys: share(self.sys, earlier.sys),
            user: share(self.user, earlier.user),
            wait: share(self.wait, earlier.wait),
        }
    }
}

async fn disks(platform: &dyn Platform) -> Result<BTreeMap<String, DiskVitals>, Error> {
    let dirs = platform.dirs();
    let (data, store) = (dirs.data(), dirs.store());
    let mut disks = BTreeMap::new();
    for (name, path) in [
        ("system", Path::new("/")),
        ("ephemeral", &data),
        ("persistent", &store),
    ] {
        if name != "system" && platform.mount_source(path).await?.is_none() {
            continue;
        }
        match statvfs(path) {
            Ok(stat) => {
                // Not as df, which takes what is reserved for root out of the whole.
                let used = stat.blocks() - stat.blocks_free();
                let inodes_used = stat.files() - stat.files_free();
                disks.insert(
                    name.to_owned(),
                    DiskVitals {
                        percent: whole(used, stat.blocks()),
                        inode_percent: whole(inodes_used, stat.files()),
                    },
                );
            }
            Err(error) if name == "system" => return Err(Error::Root(error.into())),
            Err(error) => tracing::warn!(path = %path.display(), %error, "read the use of a disk"),
        }
    }
    Ok(disks)
}

fn memory(used: u64, total: u64) -> MemoryVitals {
    MemoryVitals {
        kb: (used / 1024).to_string(),
        percent: whole(used, total),
    }
}

fn whole(part: u64, total: u64) -> String {
    format!("{:.0}", percent(part, total))
}

fn percent(part: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        part as f64 / total as f64 * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_shares_are_of_the_time_between_two_readings() {
        let first = CpuTimes::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(
            first,
            CpuTimes {
                user: 100,
                sys: 50,
                wait: 50,
                total: 1000
            }
        );
        let second = CpuTimes::parse("cpu  150 50 60 850 90 0 0 0 7 0\n").unwrap();
        let vitals = second.since(&first);
        assert_eq!(
            (
                vitals.user.as_str(),
                vitals.sys.as_str(),
                vitals.wait.as_str()
            ),
            ("50.0", "5.0", "20.0")
        );
        let vitals = first.since(&first);
        assert_eq!(vitals.user, "0.0", "no time has passed");
        assert_eq!(CpuTimes::parse("intr 1"), None);
    }

    #[test]
    fn a_reading_soon_after_another_is_the_same() {
        let times = |user, total| CpuTimes {
            user,
            total,
            ..CpuTimes::default()
        };
        let start = Instant::now();
        let first = CpuReading::next(None, times(10, 1000), start);
        assert_eq!(first.vitals.user, "1.0", "since the machine started");
        let soon = CpuReading::next(Some(first), times(11, 1001), start + CPU_WINDOW / 2);
        assert_eq!(soon.vitals.user, "1.0");
        let later = CpuReading::next(Some(soon), times(510, 2000), start + CPU_WINDOW);
        assert_eq!(later.vitals.user, "50.0", "since the first");
    }

    #[test]
    fn formats() {
        assert_eq!(
            memory(512 * 1024, 1024 * 1024),
            MemoryVitals {
                kb: "512".into(),
                percent: "50".into()
            }
        );
        assert_eq!(whole(0, 0), "0");
    }
}
