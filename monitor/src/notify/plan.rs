//! What of a spool to deliver next, and when. Pure: the time is an argument.
//!
//! - A target that failed is left alone for a while: half a second, doubled with every failure in a row, at most a minute.
//!   Whatever was tried least goes first, so that one alert that a target chokes on does not keep the others from it; alerts
//!   about the same thing keep their order.
//! - `interval` (email): everything that waits goes at fixed times.
//! - `group`: alerts that agree in some fields and come within `wait` of the first become one message.
//! - `limit`: at most `alerts` messages `per` so many seconds. The last one that is allowed carries everything that waits by
//!   then; what comes after waits for the next. Nothing is dropped for a limit.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::matcher::one_or_many;
use super::spool::Item;
use crate::event::{Alert, Status};

/// The most alerts in one message.
const MOST: usize = 1_000;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause that a target may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(600);

/// A field that alerts are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Field {
    Deployment,
    InstanceGroup,
    Severity,
    Category,
    Source,
    Title,
}

/// The `group` of a plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// Which fields have to agree; none groups all.
    #[serde(default, deserialize_with = "one_or_many")]
    by: Vec<Field>,
    /// For how many seconds others are waited for; 10 without it.
    #[serde(default = "ten", deserialize_with = "seconds")]
    wait: Duration,
}

/// The `limit` of a plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    /// How many messages.
    alerts: std::num::NonZeroUsize,
    /// In how many seconds; 60 without it.
    #[serde(default = "sixty", deserialize_with = "seconds")]
    per: Duration,
}

fn ten() -> Duration {
    Duration::from_secs(10)
}

fn sixty() -> Duration {
    Duration::from_secs(60)
}

/// A positive number of seconds.
pub(super) fn seconds<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected a positive number of seconds, found {seconds}"
            ))
        })
}

/// How a plugin is to be told.
#[derive(Clone, Debug, Default)]
pub(super) struct Pacing {
    pub(super) group: Option<Group>,
    pub(super) limit: Option<Limit>,
    pub(super) interval: Option<Duration>,
    /// Whether alerts may be put together because of a limit.
    pub(super) mergeable: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Deliver these, by their place in the spool, as one message.
    Deliver(Vec<usize>),
    /// Look again at this time, or when something comes.
    Wait(Instant),
    /// Look again when something comes.
    Idle,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Planner {
    pacing: Pacing,
    start: Instant,
    /// When the latest messages were delivered.
    sent: VecDeque<Instant>,
    failures: u32,
    pause: Option<Instant>,
    hurry: bool,
}

impl Planner {
    pub(super) fn new(pacing: Pacing, start: Instant) -> Self {
        Self {
            pacing,
            start,
            sent: VecDeque::new(),
            failures: 0,
            pause: None,
            hurry: false,
        }
    }

    /// From now on nothing is waited for but the pause after a failure: the monitor is about to end.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// Until when the target is left alone.
    pub(super) fn paused(&self, now: Instant) -> Option<Instant> {
        self.pause.filter(|pause| now < *pause)
    }

    /// The first fixed time at or after `at`, where there are fixed times.
    pub(super) fn tick(&self, at: Instant) -> Option<Instant> {
        let interval = self.pacing.interval?;
        let passed = at.saturating_duration_since(self.start).as_nanos();
        let ticks = passed.div_ceil(interval.as_nanos().max(1));
        let offset = interval.as_nanos().saturating_mul(ticks);
        Some(self.start + Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX)))
    }

    pub(super) fn next(&mut self, items: &VecDeque<Item>, now: Instant) -> Step {
        if items.is_empty() {
            return Step::Idle;
        }
        if let Some(pause) = self.paused(now) {
            return Step::Wait(pause);
        }
        if self.hurry {
            return self.choose(items, now, false);
        }
        let mut pressed = false;
        if let Some(limit) = &self.pacing.limit {
            let per = limit.per;
            while self.sent.front().is_some_and(|sent| *sent + per <= now) {
                self.sent.pop_front();
            }
            let left = limit.alerts.get().saturating_sub(self.sent.len());
            if let (0, Some(first)) = (left, self.sent.front()) {
                return Step::Wait(*first + per);
            }
            pressed = left == 1 && self.pacing.mergeable;
        }
        self.choose(items, now, pressed)
    }

    fn choose(&self, items: &VecDeque<Item>, now: Instant, pressed: bool) -> Step {
        let group = self.pacing.group.as_ref();
        if group.is_none() && self.pacing.interval.is_none() && !pressed {
            return Step::Deliver(vec![least_tried(items)]);
        }
        // One pass over the spool: the groups in the order of their first alerts.
        let mut groups: Vec<(Signature, Instant, Vec<usize>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let signature = match group {
                Some(group) if !pressed => Signature::of(&item.alert, &group.by),
                _ => Signature(item.alert.status, Vec::new()),
            };
            let place = *places.entry(signature.clone()).or_insert_with(|| {
                groups.push((signature, item.since, Vec::new()));
                groups.len() - 1
            });
            if groups[place].2.len() < MOST {
                groups[place].2.push(index);
            }
        }
        let mut first_due: Option<Instant> = None;
        for (_, since, indices) in groups {
            let due = if self.hurry || pressed {
                now
            } else if let Some(tick) = self.tick(since) {
                tick
            } else {
                since + group.map_or(Duration::ZERO, |group| group.wait)
            };
            if due <= now {
                return Step::Deliver(indices);
            }
            first_due = Some(first_due.map_or(due, |first| first.min(due)));
        }
        first_due.map_or(Step::Idle, Step::Wait)
    }

    /// The target is well: there is no need to leave it alone.
    pub(super) fn well(&mut self) {
        self.failures = 0;
        self.pause = None;
    }

    /// A message was delivered.
    pub(super) fn delivered(&mut self, now: Instant) {
        self.well();
        if self.pacing.limit.is_some() {
            self.sent.push_back(now);
        }
    }

    /// A message was not; the target may wish for a pause.
    pub(super) fn failed(&mut self, now: Instant, wish: Option<Duration>) {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        let pause = doubled.min(LONGEST_PAUSE);
        let pause = wish.map_or(pause, |wish| wish.min(LONGEST_WISH).max(pause));
        self.pause = Some(now + pause);
    }
}

/// The place of what was tried least, the oldest of those; but nothing goes before an older alert about the same thing.
fn least_tried(items: &VecDeque<Item>) -> usize {
    let (mut best, mut least) = (0, u32::MAX);
    let mut before: HashSet<&str> = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let free = item
            .alert
            .key
            .as_deref()
            .is_none_or(|key| before.insert(key));
        if free && item.attempts < least {
            (best, least) = (index, item.attempts);
        }
        if least == 0 {
            break;
        }
    }
    best
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Signature(Status, Vec<String>);

impl Signature {
    fn of(alert: &Alert, by: &[Field]) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let fields = by.iter().map(|field| match field {
            Field::Deployment => text(&alert.deployment),
            Field::InstanceGroup => text(&alert.job),
            Field::Severity => alert.severity.to_string(),
            Field::Category => alert
                .category
                .map_or("", crate::event::Category::name)
                .to_owned(),
            Field::Source => text(&alert.source),
            Field::Title => alert.title.clone(),
        });
        Self(alert.status, fields.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::notify::spool::Spool;
    use std::sync::Arc;

    struct Bench {
        spool: Spool,
        planner: Planner,
        start: Instant,
    }

    /// A spool and a planner; time is told in seconds from the start.
    impl Bench {
        fn new(group: &str, limit: &str, interval: Option<u64>) -> Self {
            let start = Instant::now();
            let pacing = Pacing {
                group: serde_yaml_ng::from_str(group).unwrap(),
                limit: serde_yaml_ng::from_str(limit).unwrap(),
                interval: interval.map(Duration::from_secs),
                mergeable: true,
            };
            let spool = Spool::open("x", None, config::Spool::default(), Arc::default()).unwrap();
            let planner = Planner::new(pacing, start);
            Self {
                spool,
                planner,
                start,
            }
        }

        fn push(&self, title: &str, deployment: &str, key: Option<&str>) {
            let alert = Alert {
                deployment: Some(deployment.to_owned()),
                key: key.map(str::to_owned),
                ..Alert::new(2, title, 0)
            };
            self.spool.push(vec![Arc::new(alert)], 0);
        }

        /// What is delivered at this time, or the second that is waited for.
        fn at(&mut self, second: f64) -> Result<Vec<String>, u64> {
            let now = self.start + Duration::from_secs_f64(second);
            let step = self.spool.state_of(|items| self.planner.next(items, now));
            match step {
                Step::Idle => Ok(Vec::new()),
                Step::Wait(until) => Err((until - self.start).as_secs_f64().round() as u64),
                Step::Deliver(places) => {
                    let (seqs, titles) = self.spool.state_of(|items| {
                        let chosen = places.iter().map(|place| &items[*place]);
                        chosen
                            .map(|item| (item.seq, item.alert.title.clone()))
                            .unzip()
                    });
                    self.spool.done(seqs);
                    self.planner.delivered(now);
                    Ok(titles)
                }
            }
        }

        fn fail(&mut self, second: f64) -> String {
            let now = self.start + Duration::from_secs_f64(second);
            let step = self.spool.state_of(|items| self.planner.next(items, now));
            let Step::Deliver(places) = step else {
                panic!("{step:?}")
            };
            let (seq, title) = self
                .spool
                .state_of(|items| (items[places[0]].seq, items[places[0]].alert.title.clone()));
            self.spool.failed(&[seq]);
            self.planner.failed(now, None);
            title
        }
    }

    #[test]
    fn a_failing_target_is_tried_less_and_less_often() {
        let mut bench = Bench::new("~", "~", None);
        bench.push("a", "d", None);
        let (mut at, mut pauses) = (0., Vec::new());
        for _ in 0..9 {
            bench.fail(at);
            let pause = bench.planner.pause.unwrap() - (bench.start + Duration::from_secs_f64(at));
            pauses.push(pause.as_secs_f64());
            at += pause.as_secs_f64();
        }
        let expected = [0.5, 1., 2., 4., 8., 16., 32., 60., 60.];
        assert!(
            pauses
                .iter()
                .zip(expected)
                .all(|(pause, expected)| (pause - expected).abs() < 0.001),
            "{pauses:?}"
        );
        assert_eq!(bench.at(at), Ok(vec!["a".to_owned()]));
        bench.push("b", "d", None);
        assert_eq!(
            bench.at(at),
            Ok(vec!["b".to_owned()]),
            "one success ends the pauses"
        );
    }

    #[test]
    fn what_a_target_chokes_on_does_not_keep_the_others_from_it() {
        let mut bench = Bench::new("~", "~", None);
        bench.push("poison", "d", Some("k"));
        bench.push("cure", "d", Some("k"));
        bench.push("other", "d", None);
        assert_eq!(bench.fail(0.), "poison");
        assert_eq!(
            bench.at(1.),
            Ok(vec!["other".to_owned()]),
            "`cure` is about the same thing as `poison`"
        );
        assert_eq!(bench.fail(1.), "poison");
        assert_eq!(bench.at(9.), Ok(vec!["poison".to_owned()]));
        assert_eq!(bench.at(9.), Ok(vec!["cure".to_owned()]));
        assert_eq!(bench.at(9.), Ok(vec![]));
    }

    #[test]
    fn what_agrees_goes_together() {
        let mut bench = Bench::new("{by: deployment, wait: 10}", "~", None);
        bench.push("a", "one", None);
        bench.push("b", "other", None);
        bench.push("c", "one", None);
        assert_eq!(bench.at(1.), Err(10));
        assert_eq!(bench.at(11.), Ok(vec!["a".to_owned(), "c".to_owned()]));
        assert_eq!(bench.at(11.), Ok(vec!["b".to_owned()]));
    }

    #[test]
    fn fixed_times_are_kept() {
        let mut bench = Bench::new("~", "~", Some(10));
        assert_eq!(bench.at(5.), Ok(vec![]));
        bench.push("a", "d", None);
        bench.push("b", "d", None);
        assert_eq!(bench.at(9.), Err(10));
        assert_eq!(bench.at(10.5), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn the_last_message_that_is_allowed_carries_all_that_waits() {
        let mut bench = Bench::new("~", "{alerts: 2, per: 60}", None);
        for title in ["a", "b", "c"] {
            bench.push(title, "d", None);
        }
        assert_eq!(bench.at(0.), Ok(vec!["a".to_owned()]));
        assert_eq!(bench.at(1.), Ok(vec!["b".to_owned(), "c".to_owned()]));
        bench.push("e", "d", None);
        bench.push("f", "d", None);
        assert_eq!(bench.at(2.), Err(60));
        assert_eq!(bench.at(60.), Ok(vec!["e".to_owned(), "f".to_owned()]));
        bench.planner.hurry();
        bench.push("g", "d", None);
        assert_eq!(
            bench.at(60.),
            Ok(vec!["g".to_owned()]),
            "at the end nothing is waited for"
        );
    }
}
