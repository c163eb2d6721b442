//! Which events a plugin is given: its filter, the silences, what it was told already, and what it wants to know of an
//! alert's end.

use std::sync::Arc;
use std::time::Duration;

use super::filter::Filter;
use super::silence::Silences;
use super::spool::{Spool, remember};
use super::stats::Counters;
use crate::event::{Alert, Heartbeat, Status};

pub(super) struct Gate {
    pub(super) filter: Filter,
    pub(super) silences: Silences,
    pub(super) repeat: Option<Duration>,
    pub(super) recovery: bool,
    pub(super) acknowledgements: bool,
    pub(super) spool: Arc<Spool>,
    pub(super) counters: Arc<Counters>,
}

impl Gate {
    /// What to give the plugin for this alert, if anything: the alert, or word that somebody sees to it.
    pub(super) fn alert(&self, alert: &Arc<Alert>, now: i64) -> Option<Arc<Alert>> {
        match alert.status {
            Status::Firing => self.firing(alert, now),
            Status::Acknowledged => self.acknowledge(alert),
            Status::Resolved => {
                let told = |key: &String| self.spool.told(|told| told.remove(key));
                // Nobody is told that something is over who was not told that it began.
                let told = alert.key.as_ref().and_then(told).is_some();
                (told && self.recovery).then(|| alert.clone())
            }
        }
    }

    fn firing(&self, alert: &Arc<Alert>, now: i64) -> Option<Arc<Alert>> {
        if !self.filter.alert(alert, now) {
            self.counters.filtered.add(1);
            return None;
        }
        if self.silences.silenced(alert, now) {
            self.counters.silenced.add(1);
            // Who silences what was told before knows about it.
            let known = alert.key.is_some();
            return known.then(|| self.acknowledge(alert)).flatten();
        }
        let key = match (&alert.key, self.repeat) {
            (Some(key), _) => key.clone(),
            (None, Some(_)) => sameness(alert),
            (None, None) => return Some(alert.clone()),
        };
        let repeated = self.spool.told(|told| {
            let repeat = self.repeat.unwrap_or_default().as_secs() as i64;
            if told
                .get(&key)
                .is_some_and(|told| told.at.saturating_add(repeat) > now)
            {
                return true;
            }
            // What has no key never ends; it is forgotten when it may be repeated.
            told.retain(|_, told| told.alert.key.is_some() || told.at.saturating_add(repeat) > now);
            remember(told, key, alert.clone(), now);
            false
        });
        if repeated {
            self.counters.repeated.add(1);
            return None;
        }
        Some(alert.clone())
    }

    fn acknowledge(&self, alert: &Arc<Alert>) -> Option<Arc<Alert>> {
        let key = alert.key.as_ref().filter(|_| self.acknowledgements)?;
        let news = self.spool.told(|told| match told.get_mut(key) {
            Some(told) => !std::mem::replace(&mut told.acknowledged, true),
            None => false,
        });
        news.then(|| {
            Arc::new(Alert {
                status: Status::Acknowledged,
                ..Alert::clone(alert)
            })
        })
    }

    /// Whether to give the plugin a heartbeat.
    pub(super) fn heartbeat(&self, heartbeat: &Heartbeat, now: i64) -> bool {
        let passes = self.filter.heartbeat(heartbeat, now);
        if !passes {
            self.counters.filtered.add(1);
        }
        passes
    }
}

/// What makes two alerts without key the same.
fn sameness(alert: &Alert) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        "\0",
        &text(&alert.source),
        &text(&alert.deployment),
        &text(&alert.instance_id),
        &alert.title,
    ]
    .join("\0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::notify::silence::Request;

    fn gate(filter: &str, repeat: Option<u64>) -> Gate {
        let counters = Arc::<Counters>::default();
        let spool = Spool::open("x", None, config::Spool::default(), counters.clone()).unwrap();
        Gate {
            filter: serde_yaml_ng::from_str(filter).unwrap(),
            silences: Silences::default(),
            repeat: repeat.map(Duration::from_secs),
            recovery: true,
            acknowledgements: true,
            spool: Arc::new(spool),
            counters,
        }
    }

    fn alert(severity: u64, key: Option<&str>, status: Status) -> Arc<Alert> {
        Arc::new(Alert {
            key: key.map(str::to_owned),
            status,
            ..Alert::new(severity, "t", 0)
        })
    }

    #[test]
    fn whoever_was_told_the_beginning_is_told_the_end_once() {
        let gate = gate("{severity: [1, 2]}", None);
        let firing = |severity, key| alert(severity, Some(key), Status::Firing);
        let over = |key| alert(2, Some(key), Status::Resolved);
        assert!(gate.alert(&firing(2, "a"), 0).is_some());
        assert!(
            gate.alert(&firing(2, "a"), 60).is_some(),
            "repeated, as upstream does"
        );
        assert!(gate.alert(&firing(4, "b"), 0).is_none());
        assert!(gate.alert(&over("b"), 90).is_none());
        assert!(gate.alert(&over("a"), 90).is_some());
        assert!(gate.alert(&over("a"), 91).is_none());
        assert_eq!(gate.counters.filtered.get(), 1);
    }

    #[test]
    fn repeats_wait() {
        let gate = gate("{}", Some(3600));
        for key in [Some("a"), None] {
            assert!(gate.alert(&alert(2, key, Status::Firing), 0).is_some());
            assert!(gate.alert(&alert(2, key, Status::Firing), 3599).is_none());
            assert!(gate.alert(&alert(2, key, Status::Firing), 3600).is_some());
        }
        assert!(
            gate.alert(&alert(2, Some("a"), Status::Resolved), 3700)
                .is_some()
        );
        assert!(
            gate.alert(&alert(2, Some("a"), Status::Firing), 3701)
                .is_some(),
            "it is not a repeat when it was over"
        );
        assert_eq!(gate.counters.repeated.get(), 2);
    }

    #[test]
    fn a_silence_of_what_was_told_acknowledges_it() {
        let gate = gate("{}", None);
        let firing = |key| alert(2, Some(key), Status::Firing);
        gate.alert(&firing("told"), 0);
        let all = Request {
            all: true,
            seconds: Some(100),
            ..Request::default()
        };
        gate.silences.add(all, 10).unwrap();
        assert_eq!(
            gate.alert(&firing("told"), 20).unwrap().status,
            Status::Acknowledged
        );
        assert!(gate.alert(&firing("told"), 30).is_none());
        assert!(gate.alert(&firing("new"), 30).is_none());
        assert!(
            gate.alert(&alert(2, Some("new"), Status::Resolved), 40)
                .is_none()
        );
        assert!(
            gate.alert(&alert(2, Some("told"), Status::Resolved), 40)
                .is_some(),
            "the end is told in spite of the silence"
        );
        assert!(gate.alert(&firing("told"), 110).is_some());
        assert_eq!(gate.counters.silenced.get(), 3);
    }
}
