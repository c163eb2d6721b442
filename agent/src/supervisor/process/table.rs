//! /proc, read once for all services, and what processes use.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::spawn::kill_all;
use crate::supervisor::checks::Regex;
use crate::supervisor::handle::System;
use crate::supervisor::service::Vitals;

/// A line of the table.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Process {
    pub(in crate::supervisor) pid: i32,
    pub(in crate::supervisor) parent: i32,
    pub(in crate::supervisor) session: i32,
    state: u8,
    ticks: u64,
    /// In clock ticks since the machine started.
    pub(in crate::supervisor) started: u64,
    resident_kb: u64,
}

impl Process {
    pub(in crate::supervisor) fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// /proc/PID/stat: `pid (name) state ppid pgrp session ...`; the name may contain anything.
    fn parse(pid: i32, stat: &str, page_kb: u64) -> Option<Self> {
        let fields: Vec<&str> = stat
            .get(stat.rfind(')')? + 1..)?
            .split_ascii_whitespace()
            .collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        Some(Self {
            pid,
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
            started: number(19)?,
            resident_kb: number(21)? * page_kb,
        })
    }
}

/// All processes at one moment.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Table {
    processes: HashMap<i32, Process>,
    children: HashMap<i32, Vec<i32>>,
}

impl Table {
    pub(in crate::supervisor) fn read() -> Self {
        let page_kb = sysconf(nix::unistd::SysconfVar::PAGE_SIZE, 4096) / 1024;
        let mut table = Self::default();
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return table;
        };
        for entry in entries.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            // A process that ends meanwhile is none.
            let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else {
                continue;
            };
            if let Some(process) = Process::parse(pid, &String::from_utf8_lossy(&stat), page_kb) {
                table.children.entry(process.parent).or_default().push(pid);
                table.processes.insert(pid, process);
            }
        }
        table
    }

    pub(in crate::supervisor) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    pub(in crate::supervisor) fn get(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// A process and everything it started that still hangs on it.
    pub(in crate::supervisor) fn family(&self, pid: i32) -> Vec<&Process> {
        self.families(vec![pid])
    }

    fn families(&self, mut open: Vec<i32>) -> Vec<&Process> {
        let mut family = Vec::new();
        let mut seen = HashSet::new();
        while let Some(pid) = open.pop() {
            if !seen.insert(pid) {
                continue;
            }
            family.extend(self.processes.get(&pid));
            open.extend(self.children.get(&pid).into_iter().flatten());
        }
        family
    }

    /// Kills a process with its descendants and, if it leads a session, everything in that session.
    pub(in crate::supervisor) fn kill_family(pid: i32) {
        // A second look catches what was started while the first kill was under way.
        for _ in 0..2 {
            let table = Self::read();
            let mut pids: HashSet<i32> = table
                .family(pid)
                .iter()
                .map(|process| process.pid)
                .collect();
            pids.extend(
                table
                    .processes()
                    .filter(|process| process.session == pid)
                    .map(|process| process.pid),
            );
            kill_all(&pids);
        }
    }

    /// Kills a program we started, everything in its session and everything that bears its mark, except for `spared` processes:
    /// what a start program brought up for another service is not its own. `started` guards against another session of that
    /// number.
    pub(in crate::supervisor) fn kill_run(
        session: i32,
        started: u64,
        mark: &str,
        spared: &HashSet<i32>,
    ) {
        let marked: HashSet<i32> = marked(mark).into_iter().map(|(pid, _)| pid).collect();
        for _ in 0..2 {
            let table = Self::read();
            let members: Vec<i32> = table
                .processes()
                .filter(|process| {
                    process.started >= started
                        && (process.session == session || marked.contains(&process.pid))
                })
                .map(|process| process.pid)
                .collect();
            let mut pids = HashSet::new();
            for member in members {
                pids.extend(table.family(member).iter().map(|process| process.pid));
            }
            pids.retain(|pid| !spared.contains(pid));
            kill_all(&pids);
        }
    }
}

/// Names the run of a program in the environment of everything that comes out of it.
pub(in crate::supervisor) const MARK: &str = "BOSH_SUPERVISOR_RUN";

/// The processes that bear a mark with this beginning, and the mark.
pub(in crate::supervisor) fn marked(beginning: &str) -> Vec<(i32, String)> {
    let own = i32::try_from(std::process::id()).ok();
    let wanted = format!("{MARK}={beginning}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if Some(pid) == own {
            continue;
        }
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if let Some(variable) = variables.find(|variable| variable.starts_with(wanted.as_bytes())) {
            let mark = String::from_utf8_lossy(variable).into_owned();
            found.push((pid, mark[MARK.len() + 1..].to_owned()));
        }
    }
    found
}

/// The processes whose command lines match a POSIX extended expression, the oldest first; not ourselves.
pub(in crate::supervisor) fn matching(pattern: &str) -> Result<Vec<(i32, String)>, String> {
    let regex = Regex::new(pattern)?;
    let table = Table::read();
    let own = i32::try_from(std::process::id()).ok();
    let mut found = Vec::new();
    for process in table.processes() {
        if Some(process.pid) == own || process.is_zombie() {
            continue;
        }
        // A process that ends meanwhile is none; kernel threads have no command line.
        let Ok(mut line) = std::fs::read(format!("/proc/{}/cmdline", process.pid)) else {
            continue;
        };
        line.iter_mut()
            .filter(|byte| **byte == 0)
            .for_each(|byte| *byte = b' ');
        let line = line.trim_ascii_end();
        if !line.is_empty() && regex.is_match(line) {
            found.push((
                process.started,
                process.pid,
                String::from_utf8_lossy(line).into_owned(),
            ));
        }
    }
    found.sort();
    Ok(found
        .into_iter()
        .map(|(_, pid, line)| (pid, line))
        .collect())
}

fn sysconf(variable: nix::unistd::SysconfVar, default: u64) -> u64 {
    nix::unistd::sysconf(variable)
        .ok()
        .flatten()
        .and_then(|value| u64::try_from(value).ok())
        .unwrap_or(default)
}

/// Of the clock in /proc.
pub(in crate::supervisor) fn ticks_per_second() -> u64 {
    sysconf(nix::unistd::SysconfVar::CLK_TCK, 100)
}

/// Clock ticks since the machine started, now.
pub(in crate::supervisor) fn ticks_now() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime
        .split_whitespace()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    (seconds * sysconf(nix::unistd::SysconfVar::CLK_TCK, 100) as f64) as u64
}

/// What the machine is.
pub(in crate::supervisor) fn system() -> System {
    let mut system = System {
        cpus: sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN, 1),
        memory_kb: meminfo("MemTotal:"),
        swap_kb: meminfo("SwapTotal:"),
        ..System::default()
    };
    if let Ok(name) = nix::sys::utsname::uname() {
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        system.name = text(name.sysname());
        system.release = text(name.release());
        system.version = text(name.version());
        system.machine = text(name.machine());
        system.hostname = text(name.nodename());
    }
    system
}

/// A line of /proc/meminfo, in kilobytes.
pub(in crate::supervisor) fn meminfo(key: &str) -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = info.lines().find_map(|line| line.strip_prefix(key));
    value
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    ticks: u64,
    total_ticks: u64,
    percent: f64,
    total_percent: f64,
}

/// Measures what processes use; CPU shares are those since the last measurement that is at least a second ago.
#[derive(Debug)]
pub(in crate::supervisor) struct Meter {
    samples: HashMap<(i32, u64), Sample>,
    taken: Option<Instant>,
    /// When the table was read.
    read: Option<Instant>,
    table: Table,
    /// Who else belongs to a process, for the time between two looks.
    members: HashMap<i32, Vec<i32>>,
    cpus: f64,
    ticks_per_second: f64,
    memory_kb: f64,
}

impl Meter {
    pub(in crate::supervisor) fn new() -> Self {
        let memory_kb = meminfo("MemTotal:").max(1) as f64;
        Self {
            samples: HashMap::new(),
            taken: None,
            read: None,
            table: Table::default(),
            members: HashMap::new(),
            cpus: sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN, 1) as f64,
            ticks_per_second: sysconf(nix::unistd::SysconfVar::CLK_TCK, 100) as f64,
            memory_kb,
        }
    }

    /// Looks at all processes once; what `vitals` says afterwards is about this moment. Each process comes with the others that
    /// belong to it though they need not hang on it.
    pub(in crate::supervisor) fn refresh(&mut self, members: HashMap<i32, Vec<i32>>, now: Instant) {
        self.members = members;
        self.read = Some(now);
        let elapsed = self.taken.map(|taken| now - taken);
        if elapsed.is_some_and(|elapsed| elapsed < Duration::from_secs(1)) {
            self.table = Table::read();
            return;
        }
        self.taken = Some(now);
        self.table = Table::read();
        let mut samples = HashMap::new();
        for pid in self.members.keys().copied() {
            let Some(process) = self.table.get(pid) else {
                continue;
            };
            let total_ticks = self
                .everything(pid)
                .iter()
                .map(|process| process.ticks)
                .sum();
            let key = (pid, process.started);
            let mut sample = Sample {
                ticks: process.ticks,
                total_ticks,
                percent: 0.0,
                total_percent: 0.0,
            };
            if let (Some(elapsed), Some(before)) = (elapsed, self.samples.get(&key)) {
                let share = |now: u64, before: u64| {
                    let seconds = now.saturating_sub(before) as f64 / self.ticks_per_second;
                    (seconds / elapsed.as_secs_f64() / self.cpus * 100.0).min(100.0)
                };
                sample.percent = share(sample.ticks, before.ticks);
                sample.total_percent = share(sample.total_ticks, before.total_ticks);
            }
            samples.insert(key, sample);
        }
        self.samples = samples;
    }

    /// Whether another look would hardly show anything else.
    pub(in crate::supervisor) fn is_fresh(&self, now: Instant) -> bool {
        self.read
            .is_some_and(|read| now - read < Duration::from_millis(200))
    }

    pub(in crate::supervisor) fn knows(&self, pid: i32) -> bool {
        self.members.contains_key(&pid)
    }

    /// A process, what hangs on it and what else belongs to it.
    fn everything(&self, pid: i32) -> Vec<&Process> {
        let others = self.members.get(&pid).into_iter().flatten();
        self.table
            .families(std::iter::once(pid).chain(others.copied()).collect())
    }

    pub(in crate::supervisor) fn vitals(&self, pid: i32) -> Option<Vitals> {
        let process = self.table.get(pid)?;
        let family = self.everything(pid);
        let total_memory_kb = family
            .iter()
            .map(|process| process.resident_kb)
            .sum::<u64>();
        let sample = self.samples.get(&(pid, process.started));
        let age = ticks_now().saturating_sub(process.started) as f64 / self.ticks_per_second;
        Some(Vitals {
            parent: process.parent,
            uptime: Duration::from_secs_f64(age),
            children: u32::try_from(family.len().saturating_sub(1)).unwrap_or(u32::MAX),
            memory_kb: process.resident_kb,
            total_memory_kb,
            memory_percent: process.resident_kb as f64 / self.memory_kb * 100.0,
            total_memory_percent: total_memory_kb as f64 / self.memory_kb * 100.0,
            cpu_percent: sample.map_or(0.0, |sample| sample.percent),
            total_cpu_percent: sample.map_or(0.0, |sample| sample.total_percent),
        })
    }
}
