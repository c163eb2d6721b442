//! When to have the director repair, purely. Source: upstream's plugins/resurrector_helper.rb and
//! resurrection_manager.rb.

use std::collections::HashMap;

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
    pub time_threshold: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            minimum_down_jobs: 5,
            percent_threshold: 0.2,
            time_threshold: 600,
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
    down: HashMap<(String, String, String), i64>,
}

impl Tracker {
    /// Takes note of an instance that a critical alert is about.
    pub fn record(&mut self, deployment: &str, job: &str, instance: &str, at: i64) {
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
        now: i64,
    ) -> State {
        self.down
            .retain(|_, at| *at >= now - thresholds.time_threshold);
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

/// The rules of the resurrection configs: an instance group is repaired unless a rule that applies to it says no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Rule {
    enabled: bool,
    #[serde(default)]
    include: Filter,
    #[serde(default)]
    exclude: Filter,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Filter {
    #[serde(default)]
    deployments: Vec<String>,
    #[serde(default)]
    instance_groups: Vec<String>,
}

impl Filter {
    fn matches(&self, deployment: &str, group: &str) -> bool {
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|other| other == name)
        };
        among(&self.deployments, deployment) && among(&self.instance_groups, group)
    }

    fn is_empty(&self) -> bool {
        self.deployments.is_empty() && self.instance_groups.is_empty()
    }
}

impl Rules {
    /// Reads the `content` of each resurrection config. A rule that cannot be read is left out and named in the second
    /// half of the result.
    pub fn parse<'a>(contents: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            rules: Vec<serde_yaml_ng::Value>,
        }
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for content in contents {
            match serde_yaml_ng::from_str::<Config>(content) {
                Ok(config) => {
                    for rule in config.rules {
                        match serde_yaml_ng::from_value(rule) {
                            Ok(rule) => rules.push(rule),
                            Err(error) => errors
                                .push(format!("failed to parse resurrection config rule: {error}")),
                        }
                    }
                }
                Err(error) => errors.push(format!("failed to parse resurrection config: {error}")),
            }
        }
        (Self(rules), errors)
    }

    /// Whether an instance group may be repaired.
    pub fn enabled(&self, deployment: &str, group: &str) -> bool {
        let applies = |rule: &&Rule| {
            let excluded = !rule.exclude.is_empty() && rule.exclude.matches(deployment, group);
            rule.include.matches(deployment, group) && !excluded
        };
        self.0.iter().filter(applies).all(|rule| rule.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(down: usize, total: usize) -> State {
        let mut tracker = Tracker::default();
        let members: Vec<_> = (0..total)
            .map(|index| ("web".to_owned(), index.to_string()))
            .collect();
        for (job, instance) in &members[..down] {
            tracker.record("d", job, instance, 100);
        }
        tracker.state("d", &members, &Thresholds::default(), 200)
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
        let mut tracker = Tracker::default();
        let members = [("web".to_owned(), "i".to_owned())];
        tracker.record("d", "web", "i", 100);
        assert_eq!(
            tracker
                .state("d", &members, &Thresholds::default(), 700)
                .verdict,
            Verdict::Managed
        );
        assert_eq!(
            tracker
                .state("d", &members, &Thresholds::default(), 701)
                .verdict,
            Verdict::Normal
        );
    }

    #[test]
    fn rules_disable_what_they_include_and_do_not_exclude() {
        let (rules, errors) = Rules::parse([
            "rules: [{enabled: false, include: {deployments: [d]}, exclude: {instance_groups: [web]}}, {enabled: 3}]",
        ]);
        assert_eq!(errors.len(), 1);
        assert!(rules.enabled("other", "db"));
        assert!(rules.enabled("d", "web"));
        assert!(!rules.enabled("d", "db"));
    }
}
