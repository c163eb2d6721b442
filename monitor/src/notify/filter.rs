//! Which events a plugin is given. Pure: the time is an argument.

use serde::{Deserialize, Deserializer};
use time::{OffsetDateTime, UtcOffset, Weekday};

use super::matcher::{Matcher, one_or_many};
use crate::event::{Alert, Heartbeat};

/// The `filter` of a plugin: what matches, is not excluded, and comes within a time window.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Filter {
    #[serde(flatten)]
    only: Rest,
    exclude: Matcher,
    #[serde(deserialize_with = "one_or_many_windows")]
    time_window: Vec<Window>,
}

/// What the matcher's keys are, among the filter's other keys.
#[derive(Clone, Debug, Default)]
struct Rest(Matcher);

impl<'de> Deserialize<'de> for Rest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `flatten` cannot refuse unknown keys; what is left over of the other keys goes through the matcher, which does.
        let rest = serde_yaml_ng::Mapping::deserialize(deserializer)?;
        serde_path_to_error::deserialize(serde_yaml_ng::Value::from(rest))
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

fn one_or_many_windows<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Window>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Windows {
        Many(Vec<serde_yaml_ng::Value>),
        One(serde_yaml_ng::Value),
    }
    let values = match Windows::deserialize(deserializer)? {
        Windows::Many(values) => values,
        Windows::One(serde_yaml_ng::Value::Null) => Vec::new(),
        Windows::One(value) => vec![value],
    };
    values
        .into_iter()
        .map(|value| serde_path_to_error::deserialize(value).map_err(serde::de::Error::custom))
        .collect()
}

impl Filter {
    /// Whether an alert passes.
    pub fn alert(&self, alert: &Alert, now: i64) -> bool {
        self.only.0.alert(alert)
            && (self.exclude.is_empty() || !self.exclude.alert(alert))
            && self.open(now)
    }

    /// Whether a heartbeat passes.
    pub fn heartbeat(&self, heartbeat: &Heartbeat, now: i64) -> bool {
        self.only.0.heartbeat(heartbeat)
            && !(self.exclude.speaks_of_heartbeats() && self.exclude.heartbeat(heartbeat))
            && self.open(now)
    }

    fn open(&self, now: i64) -> bool {
        self.time_window.is_empty() || self.time_window.iter().any(|window| window.open(now))
    }
}

/// Some hours of some days of the week.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    /// `mon` to `sun`, and ranges such as `mon-fri`; all days without it. A window past midnight belongs to the day it
    /// began on.
    #[serde(default, deserialize_with = "one_or_many")]
    days: Vec<Days>,
    /// `HH:MM`; midnight without it.
    #[serde(default)]
    from: Minute,
    /// `HH:MM`, exclusive; the same as `from`, or neither, is the whole day.
    #[serde(default)]
    to: Minute,
    /// `+HH:MM`, in which the other keys are meant; UTC without it.
    #[serde(default = "utc", deserialize_with = "offset")]
    utc_offset: UtcOffset,
}

impl Window {
    fn open(&self, now: i64) -> bool {
        let Ok(now) = OffsetDateTime::from_unix_timestamp(now) else {
            return true;
        };
        let now = now.to_offset(self.utc_offset);
        let minute = u16::from(now.hour()) * 60 + u16::from(now.minute());
        let (from, to) = (self.from.0, self.to.0);
        let (today, yesterday) = (now.weekday(), now.weekday().previous());
        let on = |day: Weekday| {
            self.days.is_empty() || self.days.iter().any(|days| days.0.contains(&day))
        };
        if from < to {
            on(today) && (from..to).contains(&minute)
        } else if from == to {
            on(today)
        } else {
            (on(today) && minute >= from) || (on(yesterday) && minute < to)
        }
    }
}

/// Minutes since midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Minute(u16);

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let minute = text.split_once(':').and_then(|(hour, minute)| {
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
        });
        minute
            .map(|minute| Self(minute % (24 * 60)))
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "expected a time of day such as \"08:30\", found {text:?}"
                ))
            })
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

#[derive(Clone, Debug)]
struct Days(Vec<Weekday>);

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let day = |name: &str| {
            DAYS.iter()
                .position(|(known, _)| name.eq_ignore_ascii_case(known))
        };
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let (Some(first), Some(last)) = (day(first.trim()), day(last.trim())) else {
            return Err(serde::de::Error::custom(format!(
                "expected days such as mon or mon-fri, found {text:?}"
            )));
        };
        let length = (last + 7 - first) % 7 + 1;
        Ok(Self(
            (0..length).map(|step| DAYS[(first + step) % 7].1).collect(),
        ))
    }
}

fn utc() -> UtcOffset {
    UtcOffset::UTC
}

fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UtcOffset, D::Error> {
    let text = String::deserialize(deserializer)?;
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("-", rest)) => (-1, rest),
        Some(("+", rest)) => (1, rest),
        _ => (1, text.as_str()),
    };
    rest.split_once(':')
        .and_then(|(hours, minutes)| {
            let (hours, minutes): (i8, i8) = (hours.parse().ok()?, minutes.parse().ok()?);
            UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()
        })
        .ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected an offset such as \"+02:00\", found {text:?}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        serde_yaml_ng::from_str(text).unwrap()
    }

    /// A Wednesday.
    const MIDNIGHT: i64 = 1_320_192_000;

    fn at(hour: i64, minute: i64) -> i64 {
        MIDNIGHT + hour * 3600 + minute * 60
    }

    #[test]
    fn what_matches_and_is_not_excluded_passes() {
        let alert = |severity, deployment: &str| Alert {
            deployment: Some(deployment.to_owned()),
            ..Alert::new(severity, "t", 0)
        };
        let filter = filter("{min_severity: error, exclude: {deployment: 'test-*'}}");
        assert!(filter.alert(&alert(2, "cf"), 0));
        assert!(!filter.alert(&alert(2, "test-1"), 0));
        assert!(!filter.alert(&alert(4, "cf"), 0));
        assert!(Filter::default().alert(&alert(9, "x"), 0));
    }

    #[test]
    fn a_window_is_some_hours_of_some_days() {
        let open = |text: &str, now| {
            filter(&format!("{{time_window: {text}}}")).alert(&Alert::new(1, "t", 0), now)
        };
        let office = "{days: mon-fri, from: '08:00', to: '18:00'}";
        assert!(open(office, at(8, 0)) && open(office, at(17, 59)));
        assert!(!open(office, at(7, 59)) && !open(office, at(18, 0)));
        assert!(!open(office, at(12, 0) + 3 * 86_400), "on a Saturday");
        let night = "{days: [tue], from: '22:00', to: '06:00'}";
        assert!(open(night, at(5, 59)), "the night of Tuesday to Wednesday");
        assert!(!open(night, at(22, 0)), "the night of Wednesday");
        assert!(open(night, at(22, 0) - 86_400));
        assert!(
            open("{days: sat-mon}", at(12, 0) + 4 * 86_400),
            "over the weekend's end"
        );
        assert!(!open("{days: sat-mon}", at(12, 0)));
        let east = "{from: '08:00', to: '09:00', utc_offset: '+05:30'}";
        assert!(open(east, at(2, 30)) && !open(east, at(8, 30)));
        assert!(
            open(
                "[{from: '01:00', to: '02:00'}, {from: '23:00', to: '24:00'}]",
                at(23, 30)
            ),
            "any of several"
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |text: &str| {
            serde_yaml_ng::from_str::<Filter>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(
            error("{time_window: {from: noon}}")
                .contains("expected a time of day such as \"08:30\", found \"noon\"")
        );
        assert!(
            error("{time_window: {days: fry}}").contains("expected days such as mon or mon-fri")
        );
        assert!(error("{time_window: {utc_offset: CET}}").contains("expected an offset"));
        assert!(error("{sevrity: 1}").contains("unknown field `sevrity`"));
    }
}
