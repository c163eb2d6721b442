//! What was validated. Errors name file, key and expectation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{self, DirectorOptions, PluginOptions};
use crate::event::Kind;

/// Everything the monitor is told.
#[derive(Clone)]
pub struct Config {
    /// The port of the HTTP interface on 127.0.0.1; none without `http.port`.
    pub http_port: Option<u16>,
    /// The bus.
    pub mbus: Mbus,
    /// The director.
    pub director: DirectorOptions,
    /// How often what happens.
    pub intervals: Intervals,
    /// Where the log goes; standard output without it.
    pub logfile: Option<PathBuf>,
    /// A level of `tracing`, from upstream's `loglevel`.
    pub loglevel: tracing::Level,
    /// Whom to tell.
    pub plugins: Vec<Plugin>,
}

/// How the bus is reached.
#[derive(Clone)]
pub struct Mbus {
    /// `nats://HOST:PORT`.
    pub endpoint: String,
    /// A PEM file with the CA of the server's certificate.
    pub server_ca: PathBuf,
    /// A PEM file with our certificate.
    pub client_certificate: PathBuf,
    /// A PEM file with its key.
    pub client_private_key: PathBuf,
    /// How long the first connection may take.
    pub connection_wait_timeout: Duration,
}

/// Upstream's intervals with upstream's defaults.
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// How long an event's id is remembered.
    pub prune_events: Duration,
    /// Between two looks at the director.
    pub poll_director: Duration,
    /// From the start to the first analysis.
    pub poll_grace_period: Duration,
    /// Between two lines of statistics in the log.
    pub log_stats: Duration,
    /// Between two looks for silent agents.
    pub analyze_agents: Duration,
    /// Between two looks for instances without VM.
    pub analyze_instances: Duration,
    /// The silence after which an agent is unresponsive.
    pub agent_timeout: Duration,
    /// How long an agent without deployment is tolerated in silence.
    pub rogue_agent_alert: Duration,
    /// Between two looks at the resurrection config.
    pub resurrection_config: Duration,
}

/// One entry of `plugins`.
#[derive(Clone)]
pub struct Plugin {
    /// Which plugin.
    pub name: String,
    /// The kinds of events it is given.
    pub events: Vec<Kind>,
    /// Its own options.
    pub options: PluginOptions,
}

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not YAML of the expected shape.
    #[error("{}: {message}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The parser's words, with the key's path.
        message: String,
    },
    /// A value is out of range.
    #[error("{}: {key}: expected {expected}, found {found}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key's path.
        key: String,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl Config {
    /// Reads and validates a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Validates a text; `path` is for errors.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file: raw::File = serde_yaml_ng::from_str(text).map_err(|error| Error::Shape {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let refuse = |key: &str, expected: &'static str, found: String| Error::Value {
            path: path.to_owned(),
            key: key.to_owned(),
            expected,
            found,
        };
        let seconds = |key: &str, value: Option<f64>, default: f64| {
            let value = value.unwrap_or(default);
            Duration::try_from_secs_f64(value)
                .ok()
                .filter(|duration| !duration.is_zero() || key == "intervals.poll_grace_period")
                .ok_or_else(|| refuse(key, "a positive number of seconds", value.to_string()))
        };
        let raw = file.intervals;
        let intervals = Intervals {
            prune_events: seconds("intervals.prune_events", raw.prune_events, 30.)?,
            poll_director: seconds("intervals.poll_director", raw.poll_director, 60.)?,
            poll_grace_period: seconds("intervals.poll_grace_period", raw.poll_grace_period, 30.)?,
            log_stats: seconds("intervals.log_stats", raw.log_stats, 60.)?,
            analyze_agents: seconds("intervals.analyze_agents", raw.analyze_agents, 60.)?,
            analyze_instances: seconds("intervals.analyze_instances", raw.analyze_instances, 60.)?,
            agent_timeout: seconds("intervals.agent_timeout", raw.agent_timeout, 60.)?,
            rogue_agent_alert: seconds("intervals.rogue_agent_alert", raw.rogue_agent_alert, 120.)?,
            resurrection_config: seconds(
                "intervals.resurrection_config",
                raw.resurrection_config,
                60.,
            )?,
        };
        let loglevel = match file
            .loglevel
            .as_deref()
            .unwrap_or("info")
            .to_ascii_lowercase()
            .as_str()
        {
            "debug" | "all" => tracing::Level::DEBUG,
            "info" => tracing::Level::INFO,
            "warn" => tracing::Level::WARN,
            "error" | "fatal" | "off" => tracing::Level::ERROR,
            other => {
                return Err(refuse(
                    "loglevel",
                    "debug, info, warn, error or fatal",
                    other.to_owned(),
                ));
            }
        };
        let mut plugins = Vec::with_capacity(file.plugins.len());
        for (index, plugin) in file.plugins.into_iter().enumerate() {
            let mut events = Vec::new();
            for event in plugin.events {
                events.push(match event.as_str() {
                    "alert" => Kind::Alert,
                    "heartbeat" => Kind::Heartbeat,
                    other => {
                        let key = format!("plugins[{index}] ({}).events", plugin.name);
                        return Err(refuse(&key, "alert or heartbeat", other.to_owned()));
                    }
                });
            }
            let options = plugin
                .options
                .unwrap_or(PluginOptions::Mapping(Default::default()));
            plugins.push(Plugin {
                name: plugin.name,
                events,
                options,
            });
        }
        Ok(Self {
            http_port: file.http.and_then(|http| http.port),
            mbus: Mbus {
                connection_wait_timeout: seconds(
                    "mbus.connection_wait_timeout",
                    file.mbus.connection_wait_timeout,
                    60.,
                )?,
                endpoint: file.mbus.endpoint,
                server_ca: file.mbus.server_ca_path.into(),
                client_certificate: file.mbus.client_certificate_path.into(),
                client_private_key: file.mbus.client_private_key_path.into(),
            },
            director: file.director,
            intervals,
            logfile: file.logfile.map(Into::into),
            loglevel,
            plugins,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBUS: &str = "mbus: {endpoint: 'nats://127.0.0.1:4222', server_ca_path: a, client_certificate_path: b, client_private_key_path: c}\n\
        director: {endpoint: 'https://127.0.0.1:25555'}\n";

    fn parse(rest: &str) -> Result<Config, String> {
        Config::parse(Path::new("hm.yml"), &format!("{MBUS}{rest}"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_has_upstreams_intervals() {
        let intervals = parse("").unwrap().intervals;
        assert_eq!(intervals.agent_timeout, Duration::from_secs(60));
        assert_eq!(intervals.rogue_agent_alert, Duration::from_secs(120));
    }

    #[test]
    fn errors_name_file_key_and_expectation() {
        let error = |rest| parse(rest).err().unwrap();
        assert_eq!(
            error("intervals: {agent_timeout: -1}"),
            "hm.yml: intervals.agent_timeout: expected a positive number of seconds, found -1"
        );
        assert_eq!(
            error("plugins: [{name: logger, events: [alarm]}]"),
            "hm.yml: plugins[0] (logger).events: expected alert or heartbeat, found alarm"
        );
        assert!(
            error("intervals: {agent_timeout: soon}")
                .starts_with("hm.yml: intervals.agent_timeout: invalid type")
        );
    }
}
