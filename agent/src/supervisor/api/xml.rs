//! `/_status?format=xml` (version 1) and `/_status2?format=xml` (version 2): element by element what monit 5.2.5 writes.
//! Upstream reads it in jobsupervisor/monit/status.go.

use std::fmt::Write;

use super::VERSION;
use super::http::escape;
use crate::supervisor::handle::Overview;
use crate::supervisor::service::Snapshot;

pub(super) fn status(overview: &Overview, version: u8, summary: bool) -> String {
    let mut out = String::with_capacity(4096);
    // Writing to a string cannot fail.
    drop(document(&mut out, overview, version, summary));
    out
}

fn document(out: &mut String, overview: &Overview, version: u8, summary: bool) -> std::fmt::Result {
    // monit says ISO-8859-1 and writes whatever bytes it has; ours are UTF-8.
    write!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    if version == 2 {
        write!(
            out,
            "<monit id=\"{}\" incarnation=\"{}\" version=\"{VERSION}\"><server>",
            escape(&overview.id),
            overview.incarnation
        )?;
    } else {
        write!(
            out,
            "<monit><server><id>{}</id><incarnation>{}</incarnation><version>{VERSION}</version>",
            escape(&overview.id),
            overview.incarnation
        )?;
    }
    write!(
        out,
        "<uptime>{}</uptime><poll>{}</poll><startdelay>0</startdelay><localhostname>{}</localhostname>\
         <controlfile>{}</controlfile><httpd><address>127.0.0.1</address><port>2822</port><ssl>0</ssl></httpd></server>",
        overview.uptime.as_secs(),
        overview.cycle.as_secs(),
        escape(&overview.system.hostname),
        escape(&overview.control_file.to_string_lossy()),
    )?;
    let system = &overview.system;
    write!(
        out,
        "<platform><name>{}</name><release>{}</release><version>{}</version><machine>{}</machine><cpu>{}</cpu>\
         <memory>{}</memory><swap>{}</swap></platform>",
        escape(&system.name),
        escape(&system.release),
        escape(&system.version),
        escape(&system.machine),
        system.cpus,
        system.memory_kb,
        system.swap_kb,
    )?;
    if version == 2 {
        out.push_str("<services>");
    }
    for service in &overview.services {
        self::service(out, service, version, summary)?;
    }
    if version == 2 {
        out.push_str("</services><servicegroups>");
        for (name, members) in groups(&overview.services) {
            write!(out, "<servicegroup name=\"{}\">", escape(name))?;
            for member in members {
                write!(out, "<service>{}</service>", escape(member))?;
            }
            out.push_str("</servicegroup>");
        }
        out.push_str("</servicegroups>");
    }
    out.push_str("</monit>");
    Ok(())
}

fn groups(services: &[Snapshot]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for service in services {
        for name in &service.definition.groups {
            match groups
                .iter_mut()
                .find(|(own, _)| own.eq_ignore_ascii_case(name))
            {
                Some((_, members)) => members.push(&service.name),
                None => groups.push((name, vec![&service.name])),
            }
        }
    }
    groups
}

fn service(out: &mut String, service: &Snapshot, version: u8, summary: bool) -> std::fmt::Result {
    let (name, kind) = (escape(&service.name), service.definition.kind.number());
    if version == 2 {
        write!(out, "<service name=\"{name}\"><type>{kind}</type>")?;
    } else {
        write!(out, "<service type=\"{kind}\"><name>{name}</name>")?;
    }
    write!(
        out,
        "<collected_sec>{}</collected_sec><collected_usec>{}</collected_usec><status>{}</status>\
         <status_hint>{}</status_hint><monitor>{}</monitor><monitormode>{}</monitormode><pendingaction>{}</pendingaction>",
        service.collected.as_secs(),
        service.collected.subsec_micros(),
        service.status,
        service.status_hint,
        service.monitoring as u8,
        service.definition.mode.number(),
        service.pending.map_or(0, |action| action.number()),
    )?;
    if let Some(message) = &service.message {
        write!(
            out,
            "<status_message><![CDATA[{}]]></status_message>",
            message.replace("]]>", "]] >")
        )?;
    }
    if let (false, Some(pid), Some(vitals)) = (summary, service.pid, service.vitals) {
        write!(
            out,
            "<pid>{pid}</pid><ppid>{}</ppid><uptime>{}</uptime><children>{}</children>\
             <memory><percent>{:.1}</percent><percenttotal>{:.1}</percenttotal><kilobyte>{}</kilobyte>\
             <kilobytetotal>{}</kilobytetotal></memory>\
             <cpu><percent>{:.1}</percent><percenttotal>{:.1}</percenttotal></cpu>",
            vitals.parent,
            vitals.uptime.as_secs(),
            vitals.children,
            vitals.memory_percent,
            vitals.total_memory_percent,
            vitals.memory_kb,
            vitals.total_memory_kb,
            vitals.cpu_percent,
            vitals.total_cpu_percent,
        )?;
    }
    out.push_str("</service>");
    Ok(())
}
