//! The rules of the resurrection configs. Source: upstream's resurrection_manager.rb.

use serde::{Deserialize, Deserializer};
use serde_yaml_ng::Value;

/// The rules of the resurrection configs: an instance group is repaired unless a rule that applies to it says no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Rule {
    #[serde(deserialize_with = "boolean")]
    enabled: bool,
    #[serde(default)]
    include: Filter,
    #[serde(default)]
    exclude: Filter,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Filter {
    #[serde(default)]
    deployments: Option<Vec<String>>,
    #[serde(default)]
    instance_groups: Option<Vec<String>>,
}

/// What YAML 1.1, which upstream reads, takes for a boolean.
fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(value) => Ok(value),
        Value::String(text) if ["yes", "Yes", "YES", "on", "On", "ON"].contains(&&*text) => {
            Ok(true)
        }
        Value::String(text) if ["no", "No", "NO", "off", "Off", "OFF"].contains(&&*text) => {
            Ok(false)
        }
        other => {
            let found = serde_yaml_ng::to_string(&other).unwrap_or_default();
            Err(serde::de::Error::custom(format!(
                "property 'enabled' value ({}) did not match the required type 'Boolean'",
                found.trim()
            )))
        }
    }
}

impl Filter {
    fn deployments(&self) -> &[String] {
        self.deployments.as_deref().unwrap_or_default()
    }

    fn instance_groups(&self) -> &[String] {
        self.instance_groups.as_deref().unwrap_or_default()
    }

    fn matches(&self, deployment: &str, group: &str) -> bool {
        let among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|other| other == name)
        };
        among(self.deployments(), deployment) && among(self.instance_groups(), group)
    }

    fn is_empty(&self) -> bool {
        self.deployments().is_empty() && self.instance_groups().is_empty()
    }
}

impl Rules {
    /// Reads the `content` of each resurrection config. A rule that cannot be read is left out and named in the second
    /// half of the result.
    pub fn parse<'a>(contents: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        #[derive(Deserialize)]
        struct Config {
            #[serde(default)]
            rules: Option<Vec<Value>>,
        }
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for content in contents {
            match serde_yaml_ng::from_str::<Config>(content) {
                Ok(config) => {
                    for rule in config.rules.unwrap_or_default() {
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

    /// Whether the group `web` of the deployment `d` may be repaired under one rule.
    fn enabled(rule: &str) -> bool {
        let (rules, errors) = Rules::parse([&*format!("rules: [{rule}]")]);
        assert!(errors.is_empty(), "{errors:?}");
        rules.enabled("d", "web")
    }

    #[test]
    fn a_rule_applies_to_what_it_includes_and_does_not_exclude() {
        for (filters, applies) in [
            ("", true),
            (", include: {}, exclude: {}", true),
            (", include: {deployments: [d]}", true),
            (", include: {deployments: [other]}", false),
            (", include: {instance_groups: [web]}", true),
            (", include: {instance_groups: [db]}", false),
            (
                ", include: {deployments: [d], instance_groups: [db]}",
                false,
            ),
            (", include: {deployments: [], instance_groups: ~}", true),
            (", exclude: {deployments: [d]}", false),
            (", exclude: {deployments: [other]}", true),
            (", exclude: {instance_groups: [web]}", false),
            (", exclude: {deployments: [d], instance_groups: [db]}", true),
            (
                ", include: {deployments: [d]}, exclude: {deployments: [d]}",
                false,
            ),
            (
                ", include: {deployments: [d]}, exclude: {instance_groups: [web]}",
                false,
            ),
        ] {
            assert_eq!(
                enabled(&format!("{{enabled: false{filters}}}")),
                !applies,
                "{filters}"
            );
            assert!(enabled(&format!("{{enabled: true{filters}}}")), "{filters}");
        }
    }

    #[test]
    fn one_no_is_enough() {
        let (rules, _) = Rules::parse([
            "rules: [{enabled: true, include: {deployments: [d]}}]",
            "rules: [{enabled: false, include: {instance_groups: [web]}}, {enabled: true}]",
        ]);
        assert!(!rules.enabled("d", "web"));
        assert!(rules.enabled("d", "db"));
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_named_and_left_out() {
        let (rules, errors) = Rules::parse([
            "rules: [{enabled: 5}, {include: {}}, {enabled: off, include: {deployments: [d]}}, nothing]",
            "rules: {",
            "{}",
            "rules: ~",
        ]);
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[0].contains("value (5) did not match"), "{errors:?}");
        assert!(!rules.enabled("d", "web"));
        assert!(rules.enabled("e", "web"));
    }
}
