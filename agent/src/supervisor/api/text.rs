//! `/_status` as text: what `monit summary` and `monit status` print, laid out as monit does.

use std::fmt::Write;
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::format_description;

use super::VERSION;
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
    let status = state(service);
    let mut out = String::new();
    // Writing to a string cannot fail.
    drop(if summary {
        writeln!(out, "{title:<35} {status}")
    } else {
        full(&mut out, service, &title, &status)
    });
    out
}

fn full(out: &mut String, service: &Snapshot, title: &str, status: &str) -> std::fmt::Result {
    writeln!(out, "{title}")?;
    let mut row = |name: &str, value: &dyn std::fmt::Display| writeln!(out, "  {name:<33} {value}");
    row("status", &status)?;
    row("monitoring status", &service.monitoring.name())?;
    if let (Some(pid), Some(vitals)) = (service.pid, service.vitals) {
        row("pid", &pid)?;
        row("parent pid", &vitals.parent)?;
        row("uptime", &uptime(vitals.uptime))?;
        row("children", &vitals.children)?;
        row("memory kilobytes", &vitals.memory_kb)?;
        row("memory kilobytes total", &vitals.total_memory_kb)?;
        row(
            "memory percent",
            &format_args!("{:.1}%", vitals.memory_percent),
        )?;
        row(
            "memory percent total",
            &format_args!("{:.1}%", vitals.total_memory_percent),
        )?;
        row("cpu percent", &format_args!("{:.1}%", vitals.cpu_percent))?;
        row(
            "cpu percent total",
            &format_args!("{:.1}%", vitals.total_cpu_percent),
        )?;
    }
    if let Some(message) = &service.message {
        row("problem", message)?;
    }
    let format = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let collected = OffsetDateTime::UNIX_EPOCH + service.collected;
    row(
        "data collected",
        &collected.format(format).unwrap_or_default(),
    )?;
    writeln!(out)
}

fn state(service: &Snapshot) -> String {
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

fn uptime(duration: Duration) -> String {
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
