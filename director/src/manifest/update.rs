//! `update` sections and the command line's ways around them.
//!
//! Upstream: deployment_plan/update_config.rb, numerical_value_calculator.rb, options/skip_drain.rb.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How instances are updated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// Instances to try first: a number, or a percentage of those to update.
    pub canaries: Amount,
    /// Instances at a time, of one zone: at least one.
    pub max_in_flight: Amount,
    /// Milliseconds a canary has to come up, at least and at most.
    pub canary_watch_time: WatchTime,
    /// Milliseconds every other instance has to come up, at least and at most.
    pub update_watch_time: WatchTime,
    /// Whether this group waits for those before it, and those after it wait for it.
    pub serial: bool,
    /// What happens first to a VM that has to go.
    pub vm_strategy: VmStrategy,
    /// Zones one after another or all at once in the first deploy.
    pub initial_deploy_az_update_strategy: AzStrategy,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            canaries: Amount("1".into()),
            max_in_flight: Amount("1".into()),
            canary_watch_time: WatchTime { min: 1000, max: 30000 },
            update_watch_time: WatchTime { min: 1000, max: 30000 },
            serial: true,
            vm_strategy: VmStrategy::DeleteCreate,
            initial_deploy_az_update_strategy: AzStrategy::Serial,
        }
    }
}

impl Update {
    /// How many of `size` instances are canaries.
    pub fn canaries(&self, size: usize) -> usize {
        self.canaries.of(size).min(size)
    }

    /// How many of `size` instances may be in flight.
    pub fn max_in_flight(&self, size: usize) -> usize {
        self.max_in_flight.of(size).max(1)
    }

    /// As it stands in an instance's spec.
    pub fn spec(&self) -> Value {
        json!({
            "canaries": self.canaries.0,
            "max_in_flight": self.max_in_flight.0,
            "canary_watch_time": self.canary_watch_time.to_string(),
            "update_watch_time": self.update_watch_time.to_string(),
            "serial": self.serial,
            "vm_strategy": self.vm_strategy,
            "initial_deploy_az_update_strategy": self.initial_deploy_az_update_strategy,
        })
    }
}

/// A number of instances, or a percentage of some, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub String);

impl Amount {
    /// Whether `text` is a number or a percentage.
    pub fn is_valid(text: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.strip_suffix('%').is_some_and(digits) || digits(text.strip_prefix(['-', '+']).unwrap_or(text))
    }

    /// How many that is of `size`, rounded down. A negative number is none.
    pub fn of(&self, size: usize) -> usize {
        match self.0.strip_suffix('%') {
            Some(percent) => {
                let percent: usize = percent.parse().unwrap_or(usize::MAX);
                (percent.saturating_mul(size) / 100).min(size)
            }
            None => match self.0.parse::<i64>() {
                Ok(number) => usize::try_from(number).unwrap_or(0),
                Err(_) if self.0.starts_with('-') => 0,
                Err(_) => usize::MAX,
            },
        }
    }
}

/// Milliseconds to wait, at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchTime {
    /// Not before.
    pub min: u64,
    /// Not after.
    pub max: u64,
}

impl std::fmt::Display for WatchTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// What happens first to a VM that has to be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VmStrategy {
    /// The old one goes, then the new one comes.
    DeleteCreate,
    /// The new one comes, takes over, then the old one goes.
    CreateSwapDelete,
}

/// How zones are gone through in the first deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AzStrategy {
    /// All at once.
    Parallel,
    /// One after another.
    Serial,
}

/// Whose processes stop without draining.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SkipDrain {
    /// Nobody's.
    #[default]
    None,
    /// Everybody's.
    All,
    /// Those of these instance groups.
    Groups(Vec<String>),
}

impl SkipDrain {
    /// Reads the `skip_drain` parameter: `*` or names separated by commas.
    pub fn parse(parameter: Option<&str>) -> Self {
        match parameter {
            None | Some("") => Self::None,
            Some("*") => Self::All,
            Some(names) => Self::Groups(names.split(',').map(str::to_owned).collect()),
        }
    }

    /// Whether the instance group `name` skips draining.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Groups(names) => names.iter().any(|group| group == name),
        }
    }
}
