//! Knows what is wrong at the moment, and so notices when something ends. Pure.
//!
//! Upstream raises an alert again at every analysis for as long as it holds, and says nothing when it no longer does. An
//! analysis that found something in one round and does not find it in the next has its end.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::{Alert, Status};

/// The most conditions that are remembered. What comes beyond is told, and its end is not.
const MOST: usize = 100_000;

/// What is wrong at the moment, by the alerts' keys. A key's first part, up to a `/`, is its scope: who looks for it.
#[derive(Debug, Default)]
pub struct Tracker {
    open: HashMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    alert: Arc<Alert>,
    /// Since when, in seconds since the epoch.
    since: i64,
    /// Its absence does not count before this time: it was remembered over a restart, and whoever looks for it has to
    /// have had the time to find it again.
    hold: i64,
}

impl Tracker {
    /// Takes up what a monitor before this one knew to be wrong. Nothing of it ends before `hold`.
    pub fn resume(&mut self, alerts: impl IntoIterator<Item = Arc<Alert>>, hold: i64) {
        for alert in alerts {
            if let Some(key) = alert.key.clone() {
                let since = alert.created_at;
                self.open.entry(key).or_insert(Open { alert, since, hold });
            }
        }
    }

    /// One round of the analysis that looks for everything in `scope`: what it found, and when. Returns the recoveries of
    /// what it found in an earlier round and does not find any more.
    pub fn round(&mut self, scope: &str, found: &[Alert], now: i64) -> Vec<Alert> {
        let keys: std::collections::HashSet<&str> = found
            .iter()
            .filter_map(|alert| alert.key.as_deref())
            .collect();
        let ended: Vec<String> = self
            .open
            .iter()
            .filter(|(key, open)| {
                in_scope(key, scope) && !keys.contains(key.as_str()) && open.hold <= now
            })
            .map(|(key, _)| key.clone())
            .collect();
        let mut recoveries: Vec<Alert> =
            ended.iter().filter_map(|key| self.end(key, now)).collect();
        recoveries.sort_by(|one, other| one.key.cmp(&other.key));
        found.iter().for_each(|alert| self.raise(alert));
        recoveries
    }

    /// Takes note of an alert that nobody looks for in rounds.
    pub fn raise(&mut self, alert: &Alert) {
        let Some(key) = alert.key.as_ref() else {
            return;
        };
        if alert.status != Status::Firing {
            return;
        }
        if let Some(open) = self.open.get_mut(key) {
            open.hold = 0;
        } else if self.open.len() < MOST {
            let open = Open {
                alert: Arc::new(alert.clone()),
                since: alert.created_at,
                hold: 0,
            };
            self.open.insert(key.clone(), open);
        }
    }

    /// Ends what has this key, and returns its recovery.
    pub fn end(&mut self, key: &str, now: i64) -> Option<Alert> {
        let open = self.open.remove(key)?;
        Some(recovery(&open.alert, open.since, now))
    }

    /// Ends everything in a scope, such as all that one agent said of its processes.
    pub fn end_all(&mut self, scope: &str, now: i64) -> Vec<Alert> {
        self.round(scope, &[], now)
    }

    /// Whether something has this key.
    pub fn is_open(&self, key: &str) -> bool {
        self.open.contains_key(key)
    }

    /// What is wrong, in no order.
    pub fn open(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.open.values().map(|open| &open.alert)
    }
}

fn in_scope(key: &str, scope: &str) -> bool {
    key.strip_prefix(scope)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The alert that says that another ended.
fn recovery(alert: &Alert, since: i64, now: i64) -> Alert {
    let lasted = (now - since).max(0);
    Alert {
        category: alert.category,
        summary: format!(
            "No longer so after {}: {}",
            crate::notify::words::duration(lasted),
            alert.summary
        ),
        source: alert.source.clone(),
        deployment: alert.deployment.clone(),
        job: alert.job.clone(),
        instance_id: alert.instance_id.clone(),
        jobs_to_instance_ids: alert.jobs_to_instance_ids.clone(),
        key: alert.key.clone(),
        status: Status::Resolved,
        ..Alert::new(alert.severity, format!("Recovered: {}", alert.title), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(key: &str, at: i64) -> Alert {
        Alert {
            key: Some(key.to_owned()),
            deployment: Some("d".to_owned()),
            ..Alert::new(2, format!("{key} is down"), at)
        }
    }

    fn titles(alerts: &[Alert]) -> Vec<&str> {
        alerts.iter().map(|alert| alert.title.as_str()).collect()
    }

    #[test]
    fn what_is_not_found_again_has_ended() {
        let mut tracker = Tracker::default();
        let (one, other) = (alert("agents/a", 100), alert("agents/b", 100));
        assert!(
            tracker
                .round("agents", &[one.clone(), other], 100)
                .is_empty()
        );
        assert!(
            tracker.round("instances", &[], 110).is_empty(),
            "another scope"
        );
        let ended = tracker.round("agents", &[one], 160);
        assert_eq!(titles(&ended), ["Recovered: agents/b is down"]);
        assert_eq!(ended[0].status, Status::Resolved);
        assert_eq!(ended[0].key.as_deref(), Some("agents/b"));
        assert_eq!(ended[0].deployment.as_deref(), Some("d"));
        assert_eq!(ended[0].summary, "No longer so after 1m: agents/b is down");
        assert!(
            tracker
                .round("agents", &[alert("agents/a", 170)], 170)
                .is_empty(),
            "told once"
        );
        let ended = tracker.round("agents", &[], 200);
        assert_eq!(
            ended[0].summary, "No longer so after 1m40s: agents/a is down",
            "since it began"
        );
    }

    #[test]
    fn what_was_remembered_is_given_time_to_be_found_again() {
        let mut tracker = Tracker::default();
        tracker.resume(
            [
                Arc::new(alert("agents/a", 10)),
                Arc::new(alert("agents/b", 10)),
            ],
            100,
        );
        assert!(tracker.round("agents", &[], 50).is_empty());
        assert!(
            tracker
                .round("agents", &[alert("agents/a", 60)], 60)
                .is_empty()
        );
        assert_eq!(
            titles(&tracker.round("agents", &[alert("agents/a", 101)], 101)),
            ["Recovered: agents/b is down"]
        );
    }

    #[test]
    fn alerts_without_key_never_end() {
        let mut tracker = Tracker::default();
        tracker.round("agents", &[Alert::new(2, "x", 0)], 0);
        assert!(tracker.round("agents", &[], 60).is_empty());
        tracker.raise(&alert("agent/a/redis", 0));
        assert!(tracker.end_all("agent/b", 1).is_empty());
        assert_eq!(tracker.end_all("agent/a", 1).len(), 1);
        assert!(!tracker.is_open("agent/a/redis"));
    }
}
