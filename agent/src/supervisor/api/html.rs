//! Pages for browsers: all services, one of them, and the supervisor itself.

use std::fmt::Write;

use super::VERSION;
use super::http::escape;
use super::text;
use crate::supervisor::handle::Overview;
use crate::supervisor::service::Snapshot;

fn page(title: &str, rows: &str) -> String {
    let title = escape(title);
    format!(
        "<!DOCTYPE html><html><head><title>{title} Monit</title></head><body><h2>{title}</h2><table>{rows}</table>\
         <p><a href='/'>Home</a> <a href='/_runtime'>Runtime</a> monit {VERSION}</p></body></html>\n"
    )
}

fn row(out: &mut String, name: &str, value: &dyn std::fmt::Display) -> std::fmt::Result {
    let value = escape(&value.to_string());
    write!(out, "<tr><td>{}</td><td>{value}</td></tr>", escape(name))
}

pub(super) fn home(overview: &Overview) -> String {
    let mut out = String::new();
    for service in &overview.services {
        let name = escape(&service.name);
        let vitals = service.vitals.unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "<tr><td>{}</td><td><a href='{name}'>{name}</a></td><td>{}</td><td>{}</td><td>{:.1}%</td><td>{:.1}% [{}&nbsp;kB]</td></tr>",
            service.definition.kind.title(),
            text::state(service),
            text::uptime(vitals.uptime),
            vitals.total_cpu_percent,
            vitals.total_memory_percent,
            vitals.total_memory_kb,
        );
    }
    page(&overview.system.hostname, &out)
}

/// With a button for everything that can be done, unless the reader may only read.
pub(super) fn service(service: &Snapshot, buttons: bool) -> String {
    let mut out = String::new();
    let _ = text::full(service, &mut |name, value| row(&mut out, name, value));
    if buttons {
        for action in ["start", "stop", "restart", "monitor", "unmonitor"] {
            let _ = write!(
                out,
                "<tr><td><form method='post'><button name='action' value='{action}'>{action}</button></form></td></tr>"
            );
        }
    }
    page(&service.name, &out)
}

pub(super) fn runtime(overview: &Overview) -> String {
    let mut out = String::new();
    let rows: [(&str, &dyn std::fmt::Display); 6] = [
        ("Monit ID", &overview.id),
        ("Host", &overview.system.hostname),
        ("Process id", &std::process::id()),
        ("Control file", &overview.control_file.display()),
        (
            "Poll time",
            &format_args!("{} seconds", overview.cycle.as_secs()),
        ),
        ("Uptime", &text::uptime(overview.uptime)),
    ];
    for (name, value) in rows {
        let _ = row(&mut out, name, value);
    }
    page("Runtime", &out)
}
