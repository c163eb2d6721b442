//! The meltdown brake. Source: upstream's plugins/resurrector_helper.rb.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The options of the meltdown brake.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// Fewer instances down than this are never a meltdown.
    pub minimum_down_jobs: usize,
    /// The share of a deployment, between 0 and 1, from which on it is one.
    pub percent_threshold: f64,
    /// For how many seconds an alert counts.
    pub time_threshold: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            minimum_down_jobs: 5,
            percent_threshold: 0.2,
            time_threshold: 600.,
        }
    }
}

/// What to do about a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Normal,
    /// Repair.
    Managed,
    /// So much is wrong that repairing would make it worse.
    Meltdown,
}

/// A verdict and the sentence that explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What to do.
    pub verdict: Verdict,
    /// Why.
    pub summary: String,
}

/// Remembers which instances were reported down, and when.
#[derive(Debug, Default)]
pub struct Tracker {
    /// (deployment, instance group, instance) -> when. On the clock that never jumps: upstream goes by the alert's own time,
    /// which a step of the clock makes old or young.
    down: HashMap<(String, String, String), Instant>,
}

impl Tracker {
    /// Takes note of an instance that a critical alert is about.
    pub fn record(&mut self, deployment: &str, job: &str, instance: &str, at: Instant) {
        self.down.insert(
            (deployment.to_owned(), job.to_owned(), instance.to_owned()),
            at,
        );
    }

    /// Judges a deployment by its members, (instance group, instance) each.
    pub fn state(
        &mut self,
        deployment: &str,
        members: &[(String, String)],
        thresholds: &Thresholds,
        now: Instant,
    ) -> State {
        // Whole seconds, as upstream counts.
        let limit = Duration::try_from_secs_f64(thresholds.time_threshold.max(0.) + 1.);
        let limit = limit.unwrap_or(Duration::MAX);
        self.down
            .retain(|_, at| now.saturating_duration_since(*at) < limit);
        let down = |(job, instance): &&(String, String)| {
            self.down
                .contains_key(&(deployment.to_owned(), job.clone(), instance.clone()))
        };
        let unhealthy = members.iter().filter(down).count();
        let share = if members.is_empty() {
            0.
        } else {
            unhealthy as f64 / members.len() as f64
        };
        let verdict = if unhealthy == 0 {
            Verdict::Normal
        } else if unhealthy >= thresholds.minimum_down_jobs && share >= thresholds.percent_threshold
        {
            Verdict::Meltdown
        } else {
            Verdict::Managed
        };
        let (total, percent) = (members.len(), share * 100.);
        State {
            verdict,
            summary: format!(
                "deployment: '{deployment}'; {unhealthy} of {total} agents are unhealthy ({percent:.1}%)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(down: usize, total: usize) -> State {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        let members: Vec<_> = (0..total)
            .map(|index| ("web".to_owned(), index.to_string()))
            .collect();
        for (job, instance) in &members[..down] {
            tracker.record("d", job, instance, now);
        }
        tracker.state("d", &members, &Thresholds::default(), now)
    }

    #[test]
    fn few_are_repaired_and_many_are_a_meltdown() {
        assert_eq!(state(0, 10).verdict, Verdict::Normal);
        assert_eq!(state(4, 4).verdict, Verdict::Managed);
        assert_eq!(state(5, 25).verdict, Verdict::Meltdown);
        assert_eq!(state(5, 26).verdict, Verdict::Managed);
        assert_eq!(
            state(5, 25).summary,
            "deployment: 'd'; 5 of 25 agents are unhealthy (20.0%)"
        );
        assert_eq!(state(0, 0).verdict, Verdict::Normal);
    }

    #[test]
    fn old_alerts_do_not_count() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        let members = [("web".to_owned(), "i".to_owned())];
        tracker.record("d", "web", "i", now);
        let mut after = |seconds| {
            let later = now + Duration::from_secs(seconds);
            let state = tracker.state("d", &members, &Thresholds::default(), later);
            state.verdict
        };
        assert_eq!(after(600), Verdict::Managed);
        assert_eq!(after(601), Verdict::Normal);
    }

    #[test]
    fn another_deployments_instances_do_not_count() {
        let (mut tracker, now) = (Tracker::default(), Instant::now());
        tracker.record("other", "web", "i", now);
        let members = [("web".to_owned(), "i".to_owned())];
        let state = tracker.state("d", &members, &Thresholds::default(), now);
        assert_eq!(state.verdict, Verdict::Normal);
    }
}
