//! `/metrics` in Prometheus' text format, version 0.0.4: base units, counters that end in `_total`.
//!
//! Only the first `metrics.max_instances` instances have series of their own, and only the first 2000 pairs of deployment
//! and severity or processes; `bosh_monitor_omitted_*` say how many have none. Deployments have all theirs.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Site;
use crate::intake::Kind;
use crate::lease::Standing;
use crate::notify::PluginStats;
use crate::registry::Reading;
use crate::service::view::{Line, Sheet, Vital};

pub(super) async fn answer(State(site): State<Site>) -> Response {
    let Some(sheet) = site.service.sheet().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let text = render(&sheet, &site.plugins.plugins());
    let of = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (of, text).into_response()
}

/// A page that is being written.
struct Page {
    text: String,
    family: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Self {
        self.family = name;
        // Writing to a string does not fail.
        _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    fn gauge(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.family(name, "gauge", help)
    }

    fn counter(&mut self, name: &'static str, help: &str) -> &mut Self {
        self.family(name, "counter", help)
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.text.push_str(self.family);
        for (at, (name, text)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for char in text.chars() {
                match char {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        _ = writeln!(self.text, " {value}");
        self
    }

    fn single(&mut self, value: f64) -> &mut Self {
        self.sample(&[], value)
    }
}

/// The whole page.
pub fn render(sheet: &Sheet, plugins: &[PluginStats]) -> String {
    let mut page = Page {
        text: String::with_capacity(4096 + sheet.instances.len() * 2048),
        family: "",
    };
    own(&mut page, sheet);
    messages(&mut page, sheet);
    of_plugins(&mut page, plugins);
    deployments(&mut page, &sheet.overview.deployments);
    alerts(&mut page, sheet);
    instances(&mut page, &sheet.instances);
    page.text
}

fn own(page: &mut Page, sheet: &Sheet) {
    let view = &sheet.overview;
    let truth = |yes: bool| f64::from(u8::from(yes));
    page.gauge("bosh_monitor_build_info", "The version, as a label.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.);
    page.gauge(
        "bosh_monitor_leader",
        "Whether this monitor acts: 1, or leaves it to another on the same bus: 0.",
    );
    page.single(truth(sheet.standing == Standing::Leader));
    page.gauge(
        "bosh_monitor_nats_connected",
        "Whether the message bus is there.",
    );
    page.single(truth(view.connected));
    page.gauge(
        "bosh_monitor_intake_lag_seconds",
        "How far behind the reading of messages is.",
    );
    page.single(view.lag);
    page.gauge(
        "bosh_monitor_mass_outage",
        "Whether so many agents are silent that it is one outage.",
    );
    page.single(truth(view.outage));
    page.gauge(
        "bosh_monitor_director_up",
        "Whether the director answered the last time it was asked.",
    );
    page.single(truth(
        view.director_error.is_none() && view.sync_age.is_some(),
    ));
    if let Some(age) = view.sync_age {
        page.gauge(
            "bosh_monitor_sync_age_seconds",
            "Time since the director last said what there is.",
        );
        page.single(age);
    }
    if let Some(took) = sheet.sync_seconds {
        page.gauge(
            "bosh_monitor_sync_duration_seconds",
            "How long the director took to say it.",
        );
        page.single(took);
    }
    page.counter(
        "bosh_monitor_syncs_total",
        "Questions to the director, by outcome.",
    );
    page.sample(&[("outcome", "success")], sheet.syncs.0 as f64);
    page.sample(&[("outcome", "failure")], sheet.syncs.1 as f64);
    if let Some(took) = sheet.analysis_seconds {
        page.gauge(
            "bosh_monitor_analysis_duration_seconds",
            "How long the last analysis of all agents took.",
        );
        page.single(took);
    }
    let lapses = sheet.lapses;
    page.counter(
        "bosh_monitor_lapses_total",
        "Times the monitor could not listen, so that the agents' silence did not count.",
    );
    page.sample(&[("reason", "stalled")], lapses.stalls as f64);
    page.sample(&[("reason", "disconnected")], lapses.disconnects as f64);
    page.sample(&[("reason", "dropped")], lapses.dropped as f64);
    page.counter(
        "bosh_monitor_clock_steps_total",
        "Times the machine's clock was set.",
    );
    page.single(lapses.clock_steps as f64);
    page.gauge(
        "bosh_monitor_kept_alerts",
        "Alerts kept until it is known which monitor acts on them.",
    );
    page.single(sheet.kept as f64);
    page.gauge(
        "bosh_monitor_remembered_ids",
        "Ids of alerts that are remembered to drop repeats.",
    );
    page.single(sheet.remembered as f64);
    page.gauge(
        "bosh_monitor_agents",
        "Agents that were heard of or that the director names.",
    );
    let managed = view.agents.saturating_sub(view.unmanaged);
    page.sample(&[("managed", "true")], managed as f64);
    page.sample(&[("managed", "false")], view.unmanaged as f64);
    page.gauge(
        "bosh_monitor_omitted_instances",
        "Instances without series of their own, because there are too many.",
    );
    page.single(sheet.omitted as f64);
}

fn messages(page: &mut Page, sheet: &Sheet) {
    page.counter(
        "bosh_monitor_messages_total",
        "Messages of agents and director that were taken, by kind.",
    );
    for kind in Kind::ALL {
        page.sample(&[("kind", kind.name())], sheet.tally.taken(kind) as f64);
    }
    page.counter(
        "bosh_monitor_refused_messages_total",
        "Messages that were refused, by kind and reason.",
    );
    for (kind, reason, count) in sheet.tally.refused() {
        page.sample(&[("kind", kind.name()), ("reason", reason)], count as f64);
    }
}

fn of_plugins(page: &mut Page, plugins: &[PluginStats]) {
    let mut each = |name, kind: &str, help: &str, of: fn(&PluginStats) -> u64| {
        page.family(name, kind, help);
        for plugin in plugins {
            let labels = [("plugin", &*plugin.name), ("id", &*plugin.id)];
            page.sample(&labels, of(plugin) as f64);
        }
    };
    each(
        "bosh_monitor_plugin_queue_length",
        "gauge",
        "Events that wait in the plugin's queue.",
        |plugin| plugin.queued,
    );
    each(
        "bosh_monitor_plugin_spool_length",
        "gauge",
        "Alerts that wait to be delivered.",
        |plugin| plugin.spooled,
    );
    each(
        "bosh_monitor_plugin_delivered_total",
        "counter",
        "Alerts delivered.",
        |plugin| plugin.delivered,
    );
    each(
        "bosh_monitor_plugin_heartbeats_total",
        "counter",
        "Heartbeats delivered.",
        |plugin| plugin.heartbeats,
    );
    each(
        "bosh_monitor_plugin_failures_total",
        "counter",
        "Deliveries that failed and are tried again.",
        |plugin| plugin.failed,
    );
    each(
        "bosh_monitor_plugin_lost_total",
        "counter",
        "Events that were given up.",
        |plugin| plugin.lost,
    );
    each(
        "bosh_monitor_plugin_filtered_total",
        "counter",
        "Events the plugin's filter left out.",
        |plugin| plugin.filtered,
    );
    each(
        "bosh_monitor_plugin_silenced_total",
        "counter",
        "Alerts that a silence left out.",
        |plugin| plugin.silenced,
    );
}

fn deployments(page: &mut Page, lines: &[Line]) {
    let mut each = |name, help: &str, of: fn(&Line) -> usize| {
        page.gauge(name, help);
        for line in lines {
            page.sample(&[("deployment", &line.name)], of(line) as f64);
        }
    };
    each(
        "bosh_deployment_instances",
        "Instances of the deployment.",
        |line| line.instances,
    );
    each(
        "bosh_deployment_agents",
        "Agents of the deployment.",
        |line| line.agents,
    );
    each(
        "bosh_deployment_unresponsive_agents",
        "Agents that have been silent for too long.",
        |line| line.unresponsive,
    );
    each(
        "bosh_deployment_unhealthy_agents",
        "Agents that run and supervise nothing.",
        |line| line.unhealthy,
    );
    each(
        "bosh_deployment_failing_instances",
        "Instances whose jobs fail.",
        |line| line.failing,
    );
    each(
        "bosh_deployment_stopped_instances",
        "Instances whose jobs are stopped.",
        |line| line.stopped,
    );
    each(
        "bosh_deployment_unknown_instances",
        "Instances that have not said how their jobs are.",
        |line| line.unknown,
    );
    each(
        "bosh_deployment_missing_vms",
        "Instances that ought to have a VM and have none.",
        |line| line.missing_vms,
    );
    each(
        "bosh_deployment_locked",
        "Whether a task is changing the deployment.",
        |line| usize::from(line.locked),
    );
}

/// Upstream's names of severities.
fn severity(number: u64) -> &'static str {
    match number {
        1 => "alert",
        2 => "critical",
        3 => "error",
        4 => "warning",
        _ => "other",
    }
}

fn alerts(page: &mut Page, sheet: &Sheet) {
    page.counter("bosh_alerts_total", "Alerts, by deployment and severity.");
    for ((deployment, number), count) in &sheet.alerts.deployments {
        let labels = [
            ("deployment", deployment.as_deref().unwrap_or_default()),
            ("severity", severity(*number)),
        ];
        page.sample(&labels, *count as f64);
    }
    page.counter(
        "bosh_process_alerts_total",
        "What agents said of their processes, by process and event.",
    );
    for ([deployment, job, process, event], count) in &sheet.alerts.processes {
        let labels = [
            ("deployment", &**deployment),
            ("instance_group", job),
            ("process", process),
            ("event", event),
        ];
        page.sample(&labels, *count as f64);
    }
    page.counter(
        "bosh_monitor_omitted_alert_series_total",
        "Alerts without a series of their own, because there are too many.",
    );
    page.single(sheet.alerts.omitted as f64);
}

fn instances(page: &mut Page, vitals: &[Vital]) {
    let names: Vec<_> = vitals
        .iter()
        .map(|vital| {
            let index = vital
                .index
                .map(|index| index.to_string())
                .unwrap_or_default();
            (vital.id.to_string(), index)
        })
        .collect();
    let mut each =
        |name, help: &str, extra: &[(&str, &str)], of: &dyn Fn(&Vital) -> Option<f64>| {
            // One family may be several calls, which differ in a label.
            if page.family != name {
                page.gauge(name, help);
            }
            for (vital, (id, index)) in vitals.iter().zip(&names) {
                let Some(value) = of(vital) else { continue };
                let own = [
                    ("deployment", &*vital.deployment),
                    ("instance_group", vital.job.as_deref().unwrap_or_default()),
                    ("instance_id", id),
                    ("index", index),
                    ("az", vital.az.as_deref().unwrap_or_default()),
                ];
                page.sample(&[&own, extra].concat(), value);
            }
        };
    let share = |reading: Reading| move |vital: &Vital| Some(vital.vitals.get(reading)? / 100.);
    each(
        "bosh_instance_up",
        "Whether the instance's agent speaks.",
        &[],
        &|vital| Some(f64::from(u8::from(vital.responsive))),
    );
    each(
        "bosh_instance_silence_seconds",
        "Time since the agent last spoke.",
        &[],
        &|vital| Some(vital.silence.as_secs_f64()),
    );
    for state in [
        "running", "failing", "stopped", "starting", "unknown", "other",
    ] {
        each(
            "bosh_instance_job_state",
            "How the instance's jobs are: 1 for the state they are in.",
            &[("state", state)],
            &|vital| Some(f64::from(u8::from(vital.job_state.name() == state))),
        );
    }
    each(
        "bosh_instance_processes",
        "Processes the agent supervises.",
        &[],
        &|vital| vital.processes.map(f64::from),
    );
    each(
        "bosh_instance_load1",
        "Load average of one minute.",
        &[],
        &|vital| vital.vitals.get(Reading::Load1),
    );
    for (mode, reading) in [
        ("user", Reading::CpuUser),
        ("system", Reading::CpuSys),
        ("iowait", Reading::CpuWait),
    ] {
        each(
            "bosh_instance_cpu_ratio",
            "Share of CPU time, by mode.",
            &[("mode", mode)],
            &share(reading),
        );
    }
    each(
        "bosh_instance_memory_used_ratio",
        "Share of memory in use.",
        &[],
        &share(Reading::MemPercent),
    );
    each(
        "bosh_instance_memory_used_bytes",
        "Memory in use.",
        &[],
        &|vital| Some(f64::from(vital.vitals.mem_kb()?) * 1024.),
    );
    each(
        "bosh_instance_swap_used_ratio",
        "Share of swap in use.",
        &[],
        &share(Reading::SwapPercent),
    );
    each(
        "bosh_instance_swap_used_bytes",
        "Swap in use.",
        &[],
        &|vital| Some(f64::from(vital.vitals.swap_kb()?) * 1024.),
    );
    let disks = [
        ("system", Reading::SystemPercent, Reading::SystemInodes),
        (
            "ephemeral",
            Reading::EphemeralPercent,
            Reading::EphemeralInodes,
        ),
        (
            "persistent",
            Reading::PersistentPercent,
            Reading::PersistentInodes,
        ),
    ];
    for (disk, space, _) in disks {
        each(
            "bosh_instance_disk_used_ratio",
            "Share of the disk in use, by disk.",
            &[("disk", disk)],
            &share(space),
        );
    }
    for (disk, _, inodes) in disks {
        each(
            "bosh_instance_disk_inodes_used_ratio",
            "Share of the disk's inodes in use, by disk.",
            &[("disk", disk)],
            &share(inodes),
        );
    }
}
