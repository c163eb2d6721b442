//! What /proc says of a process, and a process that ends with its guard.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context;

/// A child that is killed when this is dropped.
pub struct Guard(pub Child);

impl Guard {
    /// Starts it.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().with_context(|| {
            format!("running {:?}", command.get_program())
        })?))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory in bytes.
pub fn rss(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// CPU time used so far, in user and kernel.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .context("no comm in stat")?
        .1
        .split_whitespace()
        .collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Processes that a process started, and theirs, with their names.
pub fn descendants(pid: u32) -> anyhow::Result<Vec<(u32, String)>> {
    let mut children = BTreeMap::<u32, Vec<(u32, String)>>::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{child}/stat")) else {
            continue;
        };
        // `pid (name) state parent ...`, where the name may hold anything.
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else {
            continue;
        };
        let (comm, after) = (&stat[open + 1..close], &stat[close + 1..]);
        let parent = after.split_whitespace().nth(1).unwrap_or_default();
        let parent = parent.parse().unwrap_or_default();
        children
            .entry(parent)
            .or_default()
            .push((child, comm.to_owned()));
    }
    let (mut found, mut open) = (Vec::new(), vec![pid]);
    while let Some(parent) = open.pop() {
        for (child, comm) in children.remove(&parent).unwrap_or_default() {
            open.push(child);
            found.push((child, comm));
        }
    }
    Ok(found)
}

/// CPU time of the threads a process has now, finer than [`cpu`]: thread -> time.
pub fn thread_times(pid: u32) -> anyhow::Result<BTreeMap<u32, Duration>> {
    let mut times = BTreeMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let thread = entry.file_name().to_string_lossy().parse()?;
        // It may have ended meanwhile.
        if let Ok(text) = std::fs::read_to_string(entry.path().join("schedstat")) {
            let nanos = text.split_whitespace().next().context("empty schedstat")?;
            times.insert(thread, Duration::from_nanos(nanos.parse()?));
        }
    }
    Ok(times)
}
