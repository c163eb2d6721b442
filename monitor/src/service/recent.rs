//! Alerts to look back at, and the ids of those that came, so that a repeat is dropped.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Alert, Status};

/// How many alerts can be looked back at.
const KEPT: usize = 200;

/// The most event ids that are remembered to drop repeats.
const MAX_REMEMBERED: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Recent {
    alerts: VecDeque<Arc<Alert>>,
    /// Keys of what was looked at and has not ended.
    open: HashSet<String>,
    /// Two hashes of an id -> when it came. Ids may be long, and there may be many.
    seen: HashMap<(u64, u64), Instant>,
    hashers: (RandomState, RandomState),
}

impl Recent {
    /// Whether an alert has not come before; it has from now on.
    pub fn is_new(&mut self, alert: &Alert, now: Instant) -> bool {
        let key = (
            self.hashers.0.hash_one(&alert.id),
            self.hashers.1.hash_one(&alert.id),
        );
        if self.seen.contains_key(&key) {
            return false;
        }
        if self.seen.len() < MAX_REMEMBERED {
            self.seen.insert(key, now);
        }
        true
    }

    /// Forgets the ids that came longer ago than `lifetime`.
    pub fn prune(&mut self, lifetime: Duration, now: Instant) {
        self.seen
            .retain(|_, at| now.saturating_duration_since(*at) < lifetime);
        self.seen.shrink_to(self.seen.len() * 2);
    }

    /// How many ids are remembered.
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// Takes note of an alert to look back at. Whether it says something new: an alert about what is known to be wrong is
    /// raised again at every analysis.
    pub fn push(&mut self, alert: Arc<Alert>) -> bool {
        let new = match (&alert.key, alert.status) {
            (Some(key), Status::Firing) => {
                self.open.len() >= MAX_REMEMBERED || self.open.insert(key.clone())
            }
            (Some(key), Status::Resolved) => self.open.remove(key),
            _ => true,
        };
        if new {
            if self.alerts.len() >= KEPT {
                self.alerts.pop_front();
            }
            self.alerts.push_back(alert);
        }
        new
    }

    /// The last alerts, newest first.
    pub fn alerts(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.alerts.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_dropped_until_it_is_forgotten() {
        let (mut recent, now) = (Recent::default(), Instant::now());
        let alert = Alert::new(2, "t", 0);
        assert!(recent.is_new(&alert, now));
        assert!(!recent.is_new(&alert, now));
        let lifetime = Duration::from_secs(30);
        recent.prune(lifetime, now + Duration::from_secs(29));
        assert!(!recent.is_new(&alert, now));
        recent.prune(lifetime, now + lifetime);
        assert!(recent.is_new(&alert, now));
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut recent = Recent::default();
        for title in 0..=KEPT {
            recent.push(Arc::new(Alert::new(2, title.to_string(), 0)));
        }
        let titles: Vec<_> = recent.alerts().map(|alert| alert.title.clone()).collect();
        assert_eq!((titles.len(), &*titles[0]), (KEPT, "200"));
        assert_eq!(titles.last().map(String::as_str), Some("1"));
    }

    #[test]
    fn what_goes_on_is_kept_once_until_it_ends() {
        let mut recent = Recent::default();
        let of = |status| {
            let alert = Alert::new(2, "t", 0);
            let key = Some("agents/a".to_owned());
            Arc::new(Alert {
                key,
                status,
                ..alert
            })
        };
        assert!(recent.push(of(Status::Firing)));
        assert!(!recent.push(of(Status::Firing)));
        assert!(recent.push(of(Status::Resolved)));
        assert!(recent.push(of(Status::Firing)));
        assert_eq!(recent.alerts().count(), 3);
    }
}
