//! What of the file is ours alone: upstream's has none of it.
//!
//! ```yaml
//! http: {port: 25923, bind: 127.0.0.1, user: ops, password: secret}   # user and password open the status page
//! high_availability: {interval: 2}                                    # seconds; see `lease`
//! mass_outage: {minimum_agents: 10, percent_threshold: 0.2}           # see `rules::outage`
//! metrics: {max_instances: 2000}                                      # series of single instances; see `http::metrics`
//! plugins: [{name: prometheus, options: {max_instances: 2000}}]       # the same, beside the other plugins
//! ```

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::resolved::Error;
use crate::rules::outage::Limits;

/// See the module.
#[derive(Clone, Debug)]
pub struct Own {
    /// The address the HTTP interface listens on; upstream's is 127.0.0.1 always.
    pub bind: IpAddr,
    /// Who may see the status page and set silences; nobody without.
    pub login: Option<Login>,
    /// How long it takes monitors on one bus to notice that the one that acts does so no more, at most twice this.
    pub lease_interval: Duration,
    /// When silence is a mass outage.
    pub outage: Limits,
    /// How many instances have metrics of their own.
    pub max_instances: usize,
}

/// A user of the status page.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:<redacted>", self.user)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    http: Option<Http>,
    high_availability: Option<HighAvailability>,
    mass_outage: Option<MassOutage>,
    metrics: Option<Metrics>,
    plugins: Option<Vec<Plugin>>,
}

#[derive(Deserialize)]
struct Plugin {
    name: Option<String>,
    options: Option<serde_yaml_ng::Value>,
}

/// Upstream's section, which may have keys of other versions.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Http {
    bind: Option<String>,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HighAvailability {
    interval: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MassOutage {
    minimum_agents: Option<usize>,
    percent_threshold: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Metrics {
    max_instances: Option<usize>,
}

impl Own {
    /// Validates a text; `path` is for errors.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file: File = serde_yaml_ng::from_str(text).map_err(|error| Error::Shape {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let refuse = |key: &str, expected: &'static str, found: String| Error::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            expected,
            found,
        };
        let http = file.http.unwrap_or_default();
        let bind = http.bind.unwrap_or_else(|| "127.0.0.1".to_owned());
        let bind = bind
            .parse()
            .map_err(|_| refuse("http.bind", "an IP address", bind))?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let login = match (given(http.user), given(http.password)) {
            (Some(user), Some(password)) => Some(Login { user, password }),
            (None, None) => None,
            (Some(_), None) => {
                let expected = "a password beside http.user";
                return Err(refuse("http.password", expected, "none".to_owned()));
            }
            (None, Some(_)) => {
                let expected = "a user beside http.password";
                return Err(refuse("http.user", expected, "none".to_owned()));
            }
        };
        let interval = file.high_availability.unwrap_or_default().interval;
        let interval = interval.unwrap_or(2.);
        let lease_interval = Duration::try_from_secs_f64(interval)
            .ok()
            .filter(|interval| (0.2..=3600.).contains(&interval.as_secs_f64()))
            .ok_or_else(|| {
                let expected = "between 0.2 and 3600 seconds";
                refuse("high_availability.interval", expected, interval.to_string())
            })?;
        let (mass, default) = (file.mass_outage.unwrap_or_default(), Limits::default());
        let percent_threshold = mass.percent_threshold.unwrap_or(default.percent_threshold);
        if !(0. ..=1.).contains(&percent_threshold) {
            return Err(refuse(
                "mass_outage.percent_threshold",
                "a share between 0 and 1",
                percent_threshold.to_string(),
            ));
        }
        let mut metrics = file.metrics.unwrap_or_default();
        for (index, plugin) in file.plugins.into_iter().flatten().enumerate() {
            let (Some("prometheus"), Some(options)) = (plugin.name.as_deref(), plugin.options)
            else {
                continue;
            };
            metrics = serde_yaml_ng::from_value(options).map_err(|error| Error::Shape {
                path: path.to_owned(),
                message: format!("plugins[{index}] (prometheus).options: {error}"),
            })?;
        }
        Ok(Self {
            bind,
            login,
            lease_interval,
            outage: Limits {
                minimum_agents: mass.minimum_agents.unwrap_or(default.minimum_agents),
                percent_threshold,
            },
            max_instances: metrics.max_instances.unwrap_or(2000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Own, String> {
        Own::parse(Path::new("hm.yml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn upstreams_file_has_defaults() {
        let own = parse("{http: {port: 25923, other: 1}, plugins: []}").unwrap();
        assert_eq!(own.bind.to_string(), "127.0.0.1");
        assert_eq!(own.login, None);
        assert_eq!(own.lease_interval, Duration::from_secs(2));
    }

    #[test]
    fn errors_name_file_key_and_expectation() {
        let error = |text| parse(text).err().unwrap();
        assert_eq!(
            error("http: {bind: here}"),
            "hm.yml: http.bind: expected an IP address, found here"
        );
        assert_eq!(
            error("http: {user: ops}"),
            "hm.yml: http.password: expected a password beside http.user, found none"
        );
        assert_eq!(
            error("high_availability: {interval: 0}"),
            "hm.yml: high_availability.interval: expected between 0.2 and 3600 seconds, found 0"
        );
        assert_eq!(
            error("mass_outage: {percent_threshold: 20}"),
            "hm.yml: mass_outage.percent_threshold: expected a share between 0 and 1, found 20"
        );
        assert!(error("metrics: {max_instance: 1}").contains("max_instance"));
        let misspelt = "plugins: [{name: json}, {name: prometheus, options: {max: 1}}]";
        assert!(error(misspelt).starts_with("hm.yml: plugins[1] (prometheus).options: "));
        let own = parse("plugins: [{name: prometheus, options: {max_instances: 7}}]").unwrap();
        assert_eq!(own.max_instances, 7);
    }

    #[test]
    fn a_password_is_not_printed() {
        let own = parse("http: {user: ops, password: secret}").unwrap();
        assert!(!format!("{own:?}").contains("secret"));
    }
}
