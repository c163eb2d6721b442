//! `update` sections and the command line's ways around them.
//!
//! Upstream: deployment_plan/update_config.rb, numerical_value_calculator.rb, options/skip_drain.rb.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::{Error, Kind};
use super::input::{Options, Settings};
use super::raw::Section;

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
            canary_watch_time: WatchTime {
                min: 1000,
                max: 30000,
            },
            update_watch_time: WatchTime {
                min: 1000,
                max: 30000,
            },
            serial: true,
            vm_strategy: VmStrategy::DeleteCreate,
            initial_deploy_az_update_strategy: AzStrategy::Serial,
        }
    }
}

impl Update {
    /// Reads the deployment's `update`.
    pub fn read(
        map: &Map<String, Value>,
        options: &Options,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let section = Section::over(map);
        let required = |value: Option<String>, key: &str| match value {
            Some(value) => Ok(value),
            None => section.string(key),
        };
        let strategy = settings
            .default_vm_strategy
            .as_deref()
            .map(vm_strategy)
            .transpose()?;
        let base = Self {
            canaries: Amount(required(options.canaries.clone(), "canaries")?),
            max_in_flight: Amount(required(options.max_in_flight.clone(), "max_in_flight")?),
            canary_watch_time: WatchTime::parse(&section.string("canary_watch_time")?)?,
            update_watch_time: WatchTime::parse(&section.string("update_watch_time")?)?,
            serial: true,
            vm_strategy: strategy.unwrap_or(VmStrategy::DeleteCreate),
            initial_deploy_az_update_strategy: AzStrategy::Serial,
        };
        base.with(section, options)
    }

    /// These settings, with what an instance group's own `update` says on top.
    pub fn with(&self, section: Section<'_>, options: &Options) -> Result<Self, Error> {
        let mut update = self.clone();
        let given = |option: &Option<String>, key: &str| match option {
            Some(value) => Ok(Some(value.clone())),
            None => section.optional_string(key),
        };
        if let Some(canaries) = given(&options.canaries, "canaries")? {
            update.canaries = Amount(canaries);
        }
        if let Some(max_in_flight) = given(&options.max_in_flight, "max_in_flight")? {
            update.max_in_flight = Amount(max_in_flight);
        }
        if let Some(text) = section.optional_string("canary_watch_time")? {
            update.canary_watch_time = WatchTime::parse(&text)?;
        }
        if let Some(text) = section.optional_string("update_watch_time")? {
            update.update_watch_time = WatchTime::parse(&text)?;
        }
        if let Some(text) = section.optional_string("vm_strategy")? {
            update.vm_strategy = vm_strategy(&text)?;
        }
        if let Some(serial) = section.optional_boolean("serial")? {
            update.serial = serial;
        }
        if let Some(text) = section.optional_string("initial_deploy_az_update_strategy")? {
            update.initial_deploy_az_update_strategy = match text.as_str() {
                "parallel" => AzStrategy::Parallel,
                "serial" => AzStrategy::Serial,
                other => {
                    return Err(Error::new(
                        Kind::ValidationInvalidValue,
                        format!(
                            "Invalid initial_deploy_az_update_strategy '{other}', valid strategies are: 'parallel, serial'"
                        ),
                    ));
                }
            };
        }
        for amount in [&update.canaries, &update.max_in_flight] {
            if !Amount::is_valid(&amount.0) {
                return Err(Error::new(Kind::Director, "cannot be calculated"));
            }
        }
        Ok(update)
    }

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
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.strip_suffix('%').is_some_and(digits)
            || digits(text.strip_prefix(['-', '+']).unwrap_or(text))
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

impl WatchTime {
    /// Reads `30000` or `1000-30000`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::new(
                Kind::UpdateConfigInvalidWatchTime,
                "Watch time should be an integer or a range of two integers",
            )
        };
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| invalid());
        let time = match text.split_once('-') {
            Some((min, max)) => Self {
                min: number(min)?,
                max: number(max)?,
            },
            None => Self {
                min: number(text)?,
                max: number(text)?,
            },
        };
        if time.min > time.max {
            return Err(Error::new(
                Kind::UpdateConfigInvalidWatchTime,
                "Min watch time cannot be greater than max watch time",
            ));
        }
        Ok(time)
    }
}

fn vm_strategy(text: &str) -> Result<VmStrategy, Error> {
    match text {
        "create-swap-delete" => Ok(VmStrategy::CreateSwapDelete),
        "delete-create" => Ok(VmStrategy::DeleteCreate),
        other => Err(Error::new(
            Kind::ValidationInvalidValue,
            format!(
                "Invalid vm_strategy '{other}', valid strategies are: create-swap-delete, delete-create"
            ),
        )),
    }
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
