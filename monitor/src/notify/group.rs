//! Several alerts in one, for plugins whose messages carry one. Pure.

use std::sync::Arc;

use super::words::pluralize;
use crate::event::{Alert, Status};

/// How many of the alerts a summary names.
const NAMED: usize = 20;

/// One alert that stands for all of them: as severe as the worst, about what they have in common. One alone stays as it is.
pub(super) fn merge(alerts: &[Arc<Alert>]) -> Arc<Alert> {
    let [first, others @ ..] = alerts else {
        return Arc::new(Alert::new(4, "nothing", 0));
    };
    if others.is_empty() {
        return first.clone();
    }
    let common = |field: fn(&Alert) -> Option<&String>| {
        let value = field(first);
        let agreed = others.iter().all(|alert| field(alert) == value);
        value.filter(|_| agreed).cloned()
    };
    let worst = alerts
        .iter()
        .min_by_key(|alert| match alert.severity {
            0 => u64::MAX,
            severity => severity,
        })
        .unwrap_or(first);
    let noun = match first.status {
        Status::Firing => "alert",
        Status::Acknowledged => "acknowledgement",
        Status::Resolved => "recovery",
    };
    let number = pluralize(alerts.len(), noun);
    let title = match others.iter().all(|alert| alert.title == first.title) {
        true => format!("{number}: {}", first.title),
        false => format!("{number}, among them: {}", worst.title),
    };
    let mut lines: Vec<String> = alerts.iter().take(NAMED).map(|alert| line(alert)).collect();
    if alerts.len() > NAMED {
        lines.push(format!("and {} more", alerts.len() - NAMED));
    }
    Arc::new(Alert {
        id: format!("group-{}", first.id),
        category: first
            .category
            .filter(|category| others.iter().all(|alert| alert.category == Some(*category))),
        summary: lines.join("\n"),
        source: common(|alert| alert.source.as_ref()),
        deployment: common(|alert| alert.deployment.as_ref()),
        job: common(|alert| alert.job.as_ref()),
        instance_id: common(|alert| alert.instance_id.as_ref()),
        key: common(|alert| alert.key.as_ref()),
        status: first.status,
        members: alerts.to_vec(),
        ..Alert::new(worst.severity, title, first.created_at)
    })
}

fn line(alert: &Alert) -> String {
    let source = alert.source.as_ref();
    let source = source.map_or_else(String::new, |source| format!("{source}: "));
    match alert.summary == alert.title {
        true => format!("{source}{}", alert.title),
        false => format!("{source}{}: {}", alert.title, alert.summary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_as_severe_as_the_worst_and_about_what_they_share() {
        let alert = |severity, title: &str, job: &str| {
            Arc::new(Alert {
                deployment: Some("cf".into()),
                job: Some(job.into()),
                source: Some(job.into()),
                ..Alert::new(severity, title, 10)
            })
        };
        let (one, other) = (
            alert(4, "disk is filling", "cell"),
            alert(2, "gone", "router"),
        );
        assert!(Arc::ptr_eq(&merge(std::slice::from_ref(&one)), &one));
        let merged = merge(&[one.clone(), other]);
        assert_eq!(merged.severity, 2);
        assert_eq!(merged.title, "2 alerts, among them: gone");
        assert_eq!(merged.summary, "cell: disk is filling\nrouter: gone");
        assert_eq!(merged.deployment.as_deref(), Some("cf"));
        assert_eq!(merged.job, None);
        assert_eq!(merged.members.len(), 2);
        assert_eq!(
            merged.id,
            format!("group-{}", one.id),
            "the same id when it is sent again"
        );
        let many: Vec<_> = (0..30).map(|_| one.clone()).collect();
        let merged = merge(&many);
        assert_eq!(merged.title, "30 alerts: disk is filling");
        assert!(merged.summary.ends_with("\nand 10 more"));
    }
}
