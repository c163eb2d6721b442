//! `/_status` as text: what `monit summary` and `monit status` print, laid out as monit does.

use std::fmt::Write;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

use super::VERSION;
use crate::supervisor::checks::Facts;
use crate::supervisor::handle::Overview;
use crate::supervisor::service::{Monitoring, Snapshot};

pub(super) fn status(overview: &Overview, summary: bool) -> String {
    let mut out = format!(
        "The Monit daemon {VERSION} uptime: {} \n\n",
        uptime(overview.uptime)
    );
    for service in &overview.services {
        out.push_str(&self::service(service, summary));
    }
    out
}

pub(super) fn service(service: &Snapshot, summary: bool) -> String {
    let title = format!("{} '{}'", service.definition.kind.title(), service.name);
    if summary {
        return format!("{title:<35} {}\n", state(service));
    }
    let mut out = format!("{title}\n");
    // Writing to a string cannot fail.
    let _ = full(service, &mut |name, value| {
        writeln!(out, "  {name:<33} {value}")
    });
    out.push('\n');
    out
}

/// The rows of a service's page.
pub(super) fn full(service: &Snapshot, row: &mut Row<'_>) -> std::fmt::Result {
    row("status", &state(service))?;
    row("monitoring status", &service.monitoring.name())?;
    if let (Some(pid), Some(vitals)) = (service.pid, service.vitals) {
        row("pid", &pid)?;
        row("parent pid", &vitals.parent)?;
        row("uptime", &format_args!("{} ", uptime(vitals.uptime)))?;
        row("children", &vitals.children)?;
        row("memory kilobytes", &vitals.memory_kb)?;
        row("memory kilobytes total", &vitals.total_memory_kb)?;
        for (name, percent) in [
            ("memory percent", vitals.memory_percent),
            ("memory percent total", vitals.total_memory_percent),
            ("cpu percent", vitals.cpu_percent),
            ("cpu percent total", vitals.total_cpu_percent),
        ] {
            row(name, &format_args!("{percent:.1}%"))?;
        }
    }
    facts(row, &service.facts)?;
    let collected = OffsetDateTime::UNIX_EPOCH + service.collected;
    row("data collected", &date(collected))
}

fn facts(row: &mut Row<'_>, facts: &Facts) -> std::fmt::Result {
    if let Some(file) = &facts.file {
        row("permission", &format_args!("{:o}", file.mode))?;
        row("uid", &file.uid)?;
        row("gid", &file.gid)?;
        if facts.filesystem.is_none() {
            let timestamp = i64::try_from(file.timestamp).unwrap_or_default();
            row(
                "timestamp",
                &date(
                    OffsetDateTime::from_unix_timestamp(timestamp)
                        .unwrap_or(OffsetDateTime::UNIX_EPOCH),
                ),
            )?;
        }
        if let Some(size) = file.size {
            row("size", &format_args!("{size} B"))?;
        }
        if let Some(sum) = &file.checksum {
            row(
                "checksum",
                &format_args!("{sum}({})", if sum.len() == 32 { "MD5" } else { "SHA1" }),
            )?;
        }
    }
    if let Some(space) = &facts.filesystem {
        let megabytes = |blocks: u64| blocks as f64 * space.block_size as f64 / 1_048_576.0;
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                part as f64 / whole as f64 * 100.0
            }
        };
        let blocks = |count: u64| {
            format!(
                "{count} [{:.1} MB] [{:.1}%]",
                megabytes(count),
                share(count, space.blocks)
            )
        };
        row("filesystem flags", &format_args!("{:#x}", space.flags))?;
        row("block size", &format_args!("{} B", space.block_size))?;
        row(
            "blocks total",
            &format_args!("{} [{:.1} MB]", space.blocks, megabytes(space.blocks)),
        )?;
        row(
            "blocks free for non superuser",
            &blocks(space.blocks_available),
        )?;
        row("blocks free total", &blocks(space.blocks_free))?;
        if space.inodes > 0 {
            row("inodes total", &space.inodes)?;
            row(
                "inodes free",
                &format_args!(
                    "{} [{:.1}%]",
                    space.inodes_free,
                    share(space.inodes_free, space.inodes)
                ),
            )?;
        }
    }
    if let Some(system) = &facts.system {
        let [one, five, fifteen] = system.load;
        row(
            "load average",
            &format_args!("[{one:.2}] [{five:.2}] [{fifteen:.2}]"),
        )?;
        let (user, kernel, wait) = (system.cpu_user, system.cpu_system, system.cpu_wait);
        row(
            "cpu",
            &format_args!("{user:.1}%us {kernel:.1}%sy {wait:.1}%wa"),
        )?;
        row(
            "memory usage",
            &format_args!("{} kB [{:.1}%]", system.memory_kb, system.memory_percent),
        )?;
        row(
            "swap usage",
            &format_args!("{} kB [{:.1}%]", system.swap_kb, system.swap_percent),
        )?;
    }
    let seconds = |time: &Option<Duration>| time.unwrap_or_default().as_secs_f64();
    for ping in facts.pings.iter().rev() {
        row(
            "icmp response time",
            &format_args!("{:.3}s [Echo Request]", seconds(ping)),
        )?;
    }
    // The last one first, as monit.
    for port in facts.ports.iter().rev() {
        let (time, place, protocol) = (seconds(&port.response), &port.place, &port.protocol);
        if port.port == 0 {
            row(
                "unix socket response time",
                &format_args!("{time:.3}s to {place} [{protocol}]"),
            )?;
        } else {
            let (request, transport) = (&port.request, port.transport);
            row(
                "port response time",
                &format_args!("{time:.3}s to {place}{request} [{protocol} via {transport}]"),
            )?;
        }
    }
    Ok(())
}

pub(super) type Row<'a> = dyn FnMut(&str, &dyn std::fmt::Display) -> std::fmt::Result + 'a;

fn date(time: OffsetDateTime) -> String {
    let format = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    time.format(format).unwrap_or_default()
}

pub(super) fn state(service: &Snapshot) -> String {
    let state = match (service.monitoring, service.problem) {
        (Monitoring::No, _) => "not monitored",
        (Monitoring::Init, _) => "initializing",
        (Monitoring::Yes, Some(problem)) => problem,
        (Monitoring::Yes, None) => service.definition.kind.well(),
    };
    match service.pending {
        Some(action) => format!("{state} - {} pending", action.name()),
        None => state.to_owned(),
    }
}

pub(super) fn uptime(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m"),
        (0, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h {minutes}m"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::uptime;

    #[test]
    fn uptimes_read_as_monits() {
        assert_eq!(uptime(Duration::from_secs(59)), "0m");
        assert_eq!(uptime(Duration::from_secs(3 * 3600 + 61)), "3h 1m");
        assert_eq!(uptime(Duration::from_secs(2 * 86400)), "2d 0h 0m");
    }
}
