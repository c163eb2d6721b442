//! `/_status?format=xml` (version 1) and `/_status2?format=xml` (version 2): element by element what monit 5.2.5 writes.
//! Upstream reads it in jobsupervisor/monit/status.go.

use std::fmt::Write;
use std::time::Duration;

use super::VERSION;
use super::http::escape;
use crate::supervisor::checks::Facts;
use crate::supervisor::handle::Overview;
use crate::supervisor::service::Snapshot;

const MEGABYTE: f64 = 1_048_576.0;

pub(super) fn status(overview: &Overview, version: u8, summary: bool) -> String {
    let mut out = String::with_capacity(4096);
    // Writing to a string cannot fail.
    let _ = document(&mut out, overview, version, summary);
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
         <controlfile>{}</controlfile><httpd><address>{}</address><port>{}</port><ssl>0</ssl></httpd></server>",
        overview.uptime.as_secs(),
        overview.cycle.as_secs(),
        escape(&overview.system.hostname),
        escape(&overview.control_file.to_string_lossy()),
        escape(&overview.address.0),
        overview.address.1,
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
        // Groups and members the last one first, as monit.
        for (name, members) in groups(&overview.services).into_iter().rev() {
            write!(out, "<servicegroup name=\"{}\">", escape(name))?;
            for member in members.into_iter().rev() {
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
    if !summary {
        facts(out, &service.facts)?;
    }
    out.push_str("</service>");
    Ok(())
}

fn facts(out: &mut String, facts: &Facts) -> std::fmt::Result {
    if let Some(file) = &facts.file {
        write!(
            out,
            "<mode>{:o}</mode><uid>{}</uid><gid>{}</gid>",
            file.mode, file.uid, file.gid
        )?;
        if facts.filesystem.is_none() {
            write!(out, "<timestamp>{}</timestamp>", file.timestamp)?;
        }
        if let Some(size) = file.size {
            write!(out, "<size>{size}</size>")?;
        }
        if let Some(sum) = &file.checksum {
            let kind = if sum.len() == 32 { "MD5" } else { "SHA1" };
            write!(out, "<checksum type=\"{kind}\">{sum}</checksum>")?;
        }
    }
    if let Some(space) = &facts.filesystem {
        let total = space.blocks as f64 * space.block_size as f64 / MEGABYTE;
        write!(
            out,
            "<flags>{}</flags><block><percent>{:.1}</percent><usage>{:.1} MB</usage><total>{total:.1} MB</total></block>",
            space.flags,
            space.space_percent(),
            space.used_bytes() as f64 / MEGABYTE,
        )?;
        if space.inodes > 0 {
            write!(
                out,
                "<inode><percent>{:.1}</percent><usage>{}</usage><total>{}</total></inode>",
                space.inode_percent(),
                space.inodes_used(),
                space.inodes,
            )?;
        }
    }
    let seconds = |time: &Option<Duration>| time.map_or(-1.0, |time| time.as_secs_f64());
    for ping in facts.pings.iter().rev() {
        write!(
            out,
            "<icmp><type>Echo Request</type><responsetime>{:.3}</responsetime></icmp>",
            seconds(ping)
        )?;
    }
    // The last one first, as monit.
    for port in facts.ports.iter().rev() {
        let (protocol, time) = (&port.protocol, seconds(&port.response));
        if port.port == 0 {
            let path = escape(&port.place);
            write!(
                out,
                "<unix><path>{path}</path><protocol>{protocol}</protocol><responsetime>{time:.3}</responsetime></unix>"
            )?;
        } else {
            write!(
                out,
                "<port><hostname>{}</hostname><portnumber>{}</portnumber><request>{}</request>\
                 <protocol>{protocol}</protocol><type>{}</type><responsetime>{time:.3}</responsetime></port>",
                escape(&port.host),
                port.port,
                escape(&port.request),
                port.transport,
            )?;
        }
    }
    if let Some(system) = &facts.system {
        write!(
            out,
            "<system><load><avg01>{:.2}</avg01><avg05>{:.2}</avg05><avg15>{:.2}</avg15></load>\
             <cpu><user>{:.1}</user><system>{:.1}</system><wait>{:.1}</wait></cpu>\
             <memory><percent>{:.1}</percent><kilobyte>{}</kilobyte></memory>\
             <swap><percent>{:.1}</percent><kilobyte>{}</kilobyte></swap></system>",
            system.load[0],
            system.load[1],
            system.load[2],
            system.cpu_user,
            system.cpu_system,
            system.cpu_wait,
            system.memory_percent,
            system.memory_kb,
            system.swap_percent,
            system.swap_kb,
        )?;
    }
    Ok(())
}
