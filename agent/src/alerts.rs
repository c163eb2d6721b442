//! Alerts: what the supervisor reports, in the words and severities that health monitors know.
//! Source: upstream agent/alert/monit_adapter.go.

use bosh_protocol::Alert;
use bosh_protocol::alert::severity::{ALERT, CRITICAL, ERROR, WARNING};
use bosh_protocol::network::Networks;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::supervisor::MonitAlert;

/// Turns one report of the supervisor into an alert; `None` if it is good news, which nobody is alerted of.
pub fn from_monit(report: &MonitAlert, networks: &Networks, now: OffsetDateTime) -> Option<Alert> {
    let severity = match severity(&report.event) {
        Some(Severity::Ignored) => return None,
        Some(Severity::Level(level)) => level,
        None => {
            tracing::error!(event = report.event, "unknown event, it counts as critical");
            CRITICAL
        }
    };
    let ips = networks.ips();
    let service = if ips.is_empty() {
        report.service.clone()
    } else {
        format!("{} ({})", report.service, ips.join(", "))
    };
    let created_at = OffsetDateTime::parse(&report.date, &Rfc2822)
        .unwrap_or(now)
        .unix_timestamp();
    Some(Alert {
        id: report.id.clone(),
        severity,
        title: format!("{service} - {} - {}", report.event, report.action),
        summary: report.description.clone(),
        created_at,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Ignored,
    Level(i64),
}

/// How bad an event of monit is; `None` for one that is not known. Every event of a kind ends in what became of it.
fn severity(event: &str) -> Option<Severity> {
    use Severity::{Ignored, Level};

    let event = event.to_ascii_lowercase();
    // The exceptions first.
    match event.as_str() {
        "action done" | "exists" | "content match" | "timeout recovery" => return Some(Ignored),
        "does not exist" => return Some(Level(ALERT)),
        "data access error"
        | "invalid type"
        | "content doesn't match"
        | "resource limit matched" => {
            return Some(Level(ERROR));
        }
        "timeout" => return Some(Level(CRITICAL)),
        "connection changed" | "size changed" => return Some(Level(ERROR)),
        "monit instance changed" => return Some(Ignored),
        _ => {}
    }
    let (kind, outcome) = ["not changed", "succeeded", "changed", "failed"]
        .iter()
        .find_map(|outcome| Some((event.strip_suffix(outcome)?.trim_end(), *outcome)))?;
    let failed = match kind {
        "connection" | "execution" | "monit instance" => Level(ALERT),
        "checksum" | "icmp" | "pid" | "ppid" | "uid" => Level(CRITICAL),
        "content" | "filesystem flags" | "gid" | "heartbeat" | "permission" | "size"
        | "timestamp" => Level(ERROR),
        // These never fail by that word, but they succeed and change.
        "data access" | "type" | "existence" | "resource limit" | "timeout" => Level(WARNING),
        _ => return None,
    };
    Some(match outcome {
        "failed" => failed,
        "changed" => Level(WARNING),
        _ => Ignored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(event: &str) -> MonitAlert {
        MonitAlert {
            id: "x-1".into(),
            service: "nats".into(),
            event: event.into(),
            action: "restart".into(),
            date: "Sun, 22 May 2011 20:07:41 +0500".into(),
            description: "process is not running".into(),
        }
    }

    fn networks() -> Networks {
        serde_json::from_str(
            r#"{"b": {"ip": "10.0.0.2"}, "a": {"ip": "192.168.0.1"}, "v": {"ip": ""}}"#,
        )
        .unwrap()
    }

    #[test]
    fn an_alert_reads_as_upstreams() {
        let alert = from_monit(
            &report("Does not exist"),
            &networks(),
            OffsetDateTime::UNIX_EPOCH,
        )
        .unwrap();
        assert_eq!(
            alert,
            Alert {
                id: "x-1".into(),
                severity: 1,
                title: "nats (10.0.0.2, 192.168.0.1) - Does not exist - restart".into(),
                summary: "process is not running".into(),
                created_at: 1_306_076_861,
            }
        );
        let alert = from_monit(
            &report("Timeout"),
            &Networks::default(),
            OffsetDateTime::UNIX_EPOCH,
        )
        .unwrap();
        assert_eq!(alert.title, "nats - Timeout - restart");
    }

    #[test]
    fn a_date_that_makes_no_sense_is_now() {
        let report = MonitAlert {
            date: "yesterday".into(),
            ..report("pid failed")
        };
        let alert = from_monit(&report, &networks(), OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(alert.created_at, 0);
    }

    #[test]
    fn severities() {
        let level = |event: &str| match severity(event) {
            None => "unknown".to_owned(),
            Some(Severity::Ignored) => "ignored".to_owned(),
            Some(Severity::Level(level)) => level.to_string(),
        };
        for (event, expected) in [
            ("Does not exist", "1"),
            ("execution failed", "1"),
            ("connection failed", "1"),
            ("connection changed", "3"),
            ("connection not changed", "ignored"),
            ("checksum failed", "2"),
            ("pid failed", "2"),
            ("PID changed", "4"),
            ("timeout", "2"),
            ("timeout changed", "4"),
            ("timeout recovery", "ignored"),
            ("resource limit matched", "3"),
            ("resource limit succeeded", "ignored"),
            ("data access error", "3"),
            ("monit instance changed", "ignored"),
            ("monit instance failed", "1"),
            ("size changed", "3"),
            ("exists", "ignored"),
            ("existence changed", "4"),
            ("action done", "ignored"),
            ("aliens landed", "unknown"),
        ] {
            assert_eq!(level(event), expected, "{event}");
        }
        assert_eq!(
            from_monit(
                &report("aliens landed"),
                &networks(),
                OffsetDateTime::UNIX_EPOCH
            )
            .unwrap()
            .severity,
            2
        );
        assert!(from_monit(&report("exists"), &networks(), OffsetDateTime::UNIX_EPOCH).is_none());
    }
}
