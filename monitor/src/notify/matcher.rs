//! Says which events are meant: what filters and silences are made of.

use std::fmt;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Alert, Category, Heartbeat, SEVERITIES};

/// Conditions that all have to hold; one that is not there always does. Each takes one value or a list, of which one has to
/// match; texts may carry `*` and `?`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matcher {
    /// These severities: names or numbers.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub severity: Vec<Severity>,
    /// This severity and all that are worse. Only 1 to 4 are in order: anything else counts as less than a warning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// The deployment; an alert of none does not match.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub deployment: Vec<Pattern>,
    /// The instance group, or any of those that an alert about a deployment names.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub instance_group: Vec<Pattern>,
    /// The instance's id, or any of those that an alert about a deployment names.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub instance: Vec<Pattern>,
    /// `vm_health`, `deployment_health`, or `none` for alerts without category.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub category: Vec<Sort>,
    /// The alert's source.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub source: Vec<Pattern>,
    /// The alert's title.
    #[serde(
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub title: Vec<Pattern>,
}

impl Matcher {
    /// Whether it asks for anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an alert is meant.
    pub fn alert(&self, alert: &Alert) -> bool {
        let text = |patterns: &[Pattern], text: Option<&String>| {
            patterns.is_empty() || text.is_some_and(|text| any(patterns, text))
        };
        let named = &alert.jobs_to_instance_ids;
        let group = |group: &String| any(&self.instance_group, group);
        let instance = |instance: &String| any(&self.instance, instance);
        (self.severity.is_empty() || self.severity.contains(&Severity(alert.severity)))
            && self
                .min_severity
                .is_none_or(|least| rank(alert.severity) <= rank(least.0))
            && text(&self.deployment, alert.deployment.as_ref())
            && (text(&self.instance_group, alert.job.as_ref()) || named.keys().any(group))
            && (text(&self.instance, alert.instance_id.as_ref())
                || named.values().flatten().any(instance))
            && (self.category.is_empty() || self.category.contains(&Sort(alert.category)))
            && text(&self.source, alert.source.as_ref())
            && text(&self.title, Some(&alert.title))
    }

    /// Whether a heartbeat is meant; only deployment, instance group and instance are asked of it.
    pub fn heartbeat(&self, heartbeat: &Heartbeat) -> bool {
        let text = |patterns: &[Pattern], text: &str| patterns.is_empty() || any(patterns, text);
        text(&self.deployment, &heartbeat.deployment)
            && text(&self.instance_group, &heartbeat.job)
            && text(&self.instance, &heartbeat.instance_id)
    }

    /// Whether it asks for anything that heartbeats have.
    pub fn speaks_of_heartbeats(&self) -> bool {
        !(self.deployment.is_empty() && self.instance_group.is_empty() && self.instance.is_empty())
    }
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

/// Less is worse.
fn rank(severity: u64) -> u64 {
    match severity {
        1..=4 => severity,
        _ => 5,
    }
}

/// A severity by upstream's name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severity(pub u64);

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Severity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("alert, critical, error, warning or a number")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Severity, E> {
                Ok(Severity(number))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Severity, E> {
                u64::try_from(number)
                    .map(Severity)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Severity, E> {
                let known = SEVERITIES.iter().position(|known| *known == name);
                known
                    .map(|index| Severity(index as u64 + 1))
                    .or_else(|| name.parse().ok().map(Severity))
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(name), &self))
            }
        }
        deserializer.deserialize_any(Name)
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// A category, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort(pub Option<Category>);

impl<'de> Deserialize<'de> for Sort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match name.as_str() {
            "vm_health" => Ok(Self(Some(Category::VmHealth))),
            "deployment_health" => Ok(Self(Some(Category::DeploymentHealth))),
            "none" => Ok(Self(None)),
            other => Err(D::Error::custom(format!(
                "expected vm_health, deployment_health or none, found {other}"
            ))),
        }
    }
}

impl Serialize for Sort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.map_or("none", Category::name))
    }
}

/// A text in which `*` stands for anything and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether the whole text matches. Never takes more than length of pattern times length of text.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) =
            (self.0.chars().collect(), text.chars().collect());
        let (mut p, mut t) = (0, 0);
        // Where the last `*` is, and how far the text had got when it was met.
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(&c) if c == '?' || c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut star {
                    Some((at, taken)) => {
                        *taken += 1;
                        (p, t) = (*at + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
}

/// `x` and `[x]` alike.
pub(crate) fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct OneOrMany<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value or a list of values")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = seq.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|value| vec![value])
        }
        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::U64Deserializer::new(number)).map(|value| vec![value])
        }
        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::I64Deserializer::new(number)).map(|value| vec![value])
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
    }
    deserializer.deserialize_any(OneOrMany(std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn matcher(text: &str) -> Matcher {
        serde_yaml_ng::from_str(text).unwrap()
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, text, expected) in [
            ("cf", "cf", true),
            ("cf", "cf-2", false),
            ("cf-*", "cf-2", true),
            ("*-2", "cf-2", true),
            ("*a*b*", "xaxbx", true),
            ("*a*b", "xaxbx", false),
            ("?f", "cf", true),
            ("?", "ü", true),
            ("", "", true),
            ("*", "", true),
            ("a*a*a*a*a*a*a*a*b", &"a".repeat(2_000), false),
        ] {
            assert_eq!(
                Pattern(pattern.to_owned()).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn every_condition_has_to_hold() {
        let alert = Alert {
            deployment: Some("cf".into()),
            job: Some("router".into()),
            category: Some(Category::VmHealth),
            source: Some("cf: router(1)".into()),
            ..Alert::new(3, "it is down", 0)
        };
        for (text, expected) in [
            ("{}", true),
            ("{severity: error}", true),
            ("{severity: [1, 3]}", true),
            ("{severity: [alert, critical]}", false),
            ("{min_severity: warning}", true),
            ("{min_severity: critical}", false),
            (
                "{deployment: 'c*', instance_group: router, category: vm_health}",
                true,
            ),
            ("{deployment: 'c*', instance_group: cell}", false),
            ("{category: [none, deployment_health]}", false),
            ("{title: '* is down', source: 'cf*'}", true),
            ("{instance: x}", false),
        ] {
            assert_eq!(matcher(text).alert(&alert), expected, "{text}");
        }
        assert!(!matcher("{deployment: '*'}").alert(&Alert::new(1, "of none", 0)));
        assert!(matcher("{category: none}").alert(&Alert::new(1, "of none", 0)));
        assert!(!matcher("{min_severity: 4}").alert(&Alert::new(0, "of no known severity", 0)));
    }

    #[test]
    fn an_alert_about_a_deployment_is_about_all_its_groups() {
        let alert = Alert {
            jobs_to_instance_ids: BTreeMap::from([("cell".into(), vec!["i-1".into()])]),
            ..Alert::new(2, "t", 0)
        };
        assert!(matcher("{instance_group: cell}").alert(&alert));
        assert!(matcher("{instance: 'i-*'}").alert(&alert));
        assert!(!matcher("{instance_group: router}").alert(&alert));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |text: &str| {
            serde_yaml_ng::from_str::<Matcher>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(
            error("{severity: grave}")
                .contains("expected alert, critical, error, warning or a number")
        );
        assert!(
            error("{category: x}")
                .contains("expected vm_health, deployment_health or none, found x")
        );
        assert!(error("{deploymnt: x}").contains("unknown field `deploymnt`"));
    }
}
