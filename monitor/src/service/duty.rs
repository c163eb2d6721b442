//! Whether to act on an alert, keep it or leave it to another monitor. Pure.
//!
//! What agents and director say is said once, to all monitors: one that does not lead keeps it until the leader has told that
//! it has handed it on, and hands it on itself when it becomes the leader. What a monitor finds itself, it finds again at its
//! next analysis.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::event::Alert;
use crate::lease::Standing;

/// How many alerts are kept at the most; beyond, the oldest are given up.
const KEPT: usize = 10_000;

/// For how many intervals of the lease an alert is kept while a leader is there to see to it.
const PATIENCE: u32 = 3;

/// The alerts that another monitor may not have handed on.
#[derive(Debug, Default)]
pub struct Kept {
    alerts: VecDeque<(Instant, u64, Alert)>,
    given_up: u64,
}

impl Kept {
    /// Keeps an alert, which has this [key](crate::lease::key).
    pub fn keep(&mut self, key: u64, alert: Alert, now: Instant) {
        if self.alerts.len() >= KEPT {
            self.alerts.pop_front();
            self.given_up += 1;
            if self.given_up.is_power_of_two() {
                tracing::error!(
                    given_up = self.given_up,
                    "too many alerts wait for a monitor to lead; the oldest are given up"
                );
            }
        }
        self.alerts.push_back((now, key, alert));
    }

    /// Leaves to the leader what it has handed on.
    pub fn handled(&mut self, keys: &[u64]) {
        if !keys.is_empty() {
            self.alerts.retain(|(_, key, _)| !keys.contains(key));
        }
    }

    /// Leaves to a leader what it has had the time for.
    pub fn prune(&mut self, standing: Standing, interval: Duration, now: Instant) {
        if standing == Standing::Follower {
            let patience = PATIENCE * interval;
            let old = |at: Instant| now.saturating_duration_since(at) > patience;
            while self.alerts.front().is_some_and(|(at, ..)| old(*at)) {
                self.alerts.pop_front();
            }
        }
    }

    /// What the new leader has to hand on.
    pub fn take(&mut self) -> impl Iterator<Item = (u64, Alert)> {
        let alerts = std::mem::take(&mut self.alerts);
        alerts.into_iter().map(|(_, key, alert)| (key, alert))
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(title: &str) -> Alert {
        Alert::new(2, title, 0)
    }

    fn titles(kept: &mut Kept) -> Vec<String> {
        kept.take().map(|(_, alert)| alert.title).collect()
    }

    #[test]
    fn what_the_leader_has_handed_on_is_left_to_it() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for key in 0..3 {
            kept.keep(key, alert(&key.to_string()), now);
        }
        kept.handled(&[1, 7]);
        assert_eq!(titles(&mut kept), ["0", "2"]);
        assert!(kept.is_empty());
    }

    #[test]
    fn a_leader_is_given_time_and_nobody_is_given_all_of_it() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        let interval = Duration::from_secs(2);
        kept.keep(1, alert("1"), now);
        kept.prune(Standing::Undecided, interval, now + 100 * interval);
        kept.prune(Standing::Follower, interval, now + 3 * interval);
        assert_eq!(kept.len(), 1);
        kept.prune(Standing::Follower, interval, now + 4 * interval);
        assert!(kept.is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        for key in 0..=KEPT as u64 {
            kept.keep(key, alert("x"), now);
        }
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.take().next().map(|(key, _)| key), Some(1));
    }
}
