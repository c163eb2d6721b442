//! What was validated. Errors name file, key and expectation.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::own::Own;
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
    /// Where alerts wait that could not be delivered yet.
    pub spool: Spool,
    /// What upstream's file has none of.
    pub own: Own,
}

/// Where alerts wait that could not be delivered yet. Every plugin has a spool of its own within these limits.
#[derive(Clone, Debug)]
pub struct Spool {
    /// Where; without it they wait in memory only.
    pub dir: Option<PathBuf>,
    /// Whether the file names it: it has to be usable then.
    pub named: bool,
    /// How many alerts may wait for a plugin; beyond, the oldest are given up.
    pub max_alerts: usize,
    /// How many bytes of them, as JSON; beyond, the oldest are given up.
    pub max_bytes: u64,
    /// For how long an alert is tried.
    pub max_age: Duration,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            dir: None,
            named: false,
            max_alerts: 10_000,
            max_bytes: 16 << 20,
            max_age: Duration::from_secs(24 * 3600),
        }
    }
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
    /// File and key of the entry, for errors: `hm.yml: plugins[2] (webhook)`.
    pub place: String,
    /// Which plugin.
    pub name: String,
    /// What its spool is called; made of name and position where the file has none.
    pub id: String,
    /// The kinds of events it is given.
    pub events: Vec<Kind>,
    /// Kinds that upstream takes and that never happen.
    pub misnamed: Vec<String>,
    /// Its own options.
    pub options: PluginOptions,
    /// Which events it is given, see [`Filter`](crate::notify::filter::Filter).
    pub filter: PluginOptions,
    /// Which alerts become one message, see `notify/plan.rs`.
    pub group: PluginOptions,
    /// How many messages it is given, see `notify/plan.rs`.
    pub limit: PluginOptions,
    /// For how long an alert is not repeated.
    pub repeat: Option<Duration>,
    /// Whether it is told that an alert ended; without it, the plugin's own default.
    pub recovery: Option<bool>,
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
        let plugins = plugins(path, file.plugins.unwrap_or_default())?;
        let logfile: Option<PathBuf> = file.logfile.map(Into::into);
        let spool = spool(path, file.spool, logfile.as_deref())?;
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
            own: Own::parse(path, text)?,
            logfile,
            loglevel,
            plugins,
            spool,
        })
    }
}

/// Kinds that upstream's own sample file names by mistake. They never happen, there or here.
const MISNAMED_KINDS: [&str; 2] = ["alerts", "heartbeats"];

fn plugins(path: &Path, entries: Vec<raw::Plugin>) -> Result<Vec<Plugin>, Error> {
    let mut plugins: Vec<Plugin> = Vec::with_capacity(entries.len());
    for (index, raw) in entries.into_iter().enumerate() {
        let key = format!("plugins[{index}] ({})", raw.name);
        let refuse = |part: &str, expected: &'static str, found: String| Error::Value {
            path: path.to_owned(),
            key: format!("{key}.{part}"),
            expected,
            found,
        };
        let (mut events, mut misnamed) = (Vec::new(), Vec::new());
        for event in raw.events.unwrap_or_default() {
            match event.as_str() {
                "alert" => events.push(Kind::Alert),
                "heartbeat" => events.push(Kind::Heartbeat),
                other if MISNAMED_KINDS.contains(&other) => misnamed.push(event),
                other => return Err(refuse("events", "alert or heartbeat", other.to_owned())),
            }
        }
        let repeat = raw.repeat.map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| refuse("repeat", "a number of seconds", seconds.to_string()))
        });
        let id = match raw.id {
            Some(id) => {
                let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                if id.is_empty() || id.starts_with('.') || !id.bytes().all(name) {
                    return Err(refuse("id", "letters, digits, '-', '_' and '.'", id));
                }
                id
            }
            None => {
                let before = plugins.iter().filter(|plugin| plugin.name == raw.name);
                format!("{}-{}", raw.name.replace(['/', '\0'], "_"), before.count())
            }
        };
        if plugins.iter().any(|plugin| plugin.id == id) {
            return Err(refuse("id", "an id that no other plugin has", id));
        }
        plugins.push(Plugin {
            place: format!("{}: {key}", path.display()),
            name: raw.name,
            id,
            events,
            misnamed,
            options: raw.options.unwrap_or(PluginOptions::Null),
            filter: raw.filter.unwrap_or(PluginOptions::Null),
            group: raw.group.unwrap_or(PluginOptions::Null),
            limit: raw.limit.unwrap_or(PluginOptions::Null),
            repeat: repeat.transpose()?,
            recovery: raw.recovery,
        });
    }
    Ok(plugins)
}

/// Without `spool.dir` it is beside the log file: the one place that upstream's job may write to.
fn spool(path: &Path, raw: Option<raw::Spool>, logfile: Option<&Path>) -> Result<Spool, Error> {
    let default = Spool {
        dir: logfile
            .and_then(Path::parent)
            .map(|parent| parent.join("spool")),
        ..Spool::default()
    };
    let Some(raw) = raw else { return Ok(default) };
    let refuse = |key: &str, expected: &'static str, found: String| Error::Value {
        path: path.to_owned(),
        key: key.to_owned(),
        expected,
        found,
    };
    let positive = |key: &str| refuse(key, "a positive number", "0".to_owned());
    let max_age = match raw.max_age {
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|age| !age.is_zero())
            .ok_or_else(|| {
                refuse(
                    "spool.max_age",
                    "a positive number of seconds",
                    seconds.to_string(),
                )
            })?,
        None => default.max_age,
    };
    match (raw.max_alerts, raw.max_bytes) {
        (Some(0), _) => return Err(positive("spool.max_alerts")),
        (_, Some(0)) => return Err(positive("spool.max_bytes")),
        _ => {}
    }
    Ok(Spool {
        named: raw.dir.is_some(),
        dir: raw.dir.map(Into::into).or(default.dir),
        max_alerts: raw.max_alerts.unwrap_or(default.max_alerts),
        max_bytes: raw.max_bytes.unwrap_or(default.max_bytes),
        max_age,
    })
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
    fn a_plugin_has_what_upstreams_entry_and_ours_say() {
        let config = parse(
            "logfile: /log/hm.log\nplugins: [{name: logger, events: [alerts, alert], options: ~}, {name: logger}, {name: x, id: y, repeat: 60, recovery: true}]",
        )
        .unwrap();
        let ids: Vec<_> = config.plugins.iter().map(|plugin| &plugin.id).collect();
        assert_eq!(ids, ["logger-0", "logger-1", "y"]);
        assert_eq!(config.plugins[0].events, [Kind::Alert]);
        assert_eq!(config.plugins[0].misnamed, ["alerts"]);
        assert_eq!(config.plugins[2].repeat, Some(Duration::from_secs(60)));
        assert_eq!(config.spool.dir.as_deref(), Some(Path::new("/log/spool")));
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
        assert_eq!(
            error("plugins: [{name: webhook, id: a}, {name: email, id: a}]"),
            "hm.yml: plugins[1] (email).id: expected an id that no other plugin has, found a"
        );
        assert_eq!(
            error("spool: {max_alerts: 0}"),
            "hm.yml: spool.max_alerts: expected a positive number, found 0"
        );
        assert!(error("spool: {size: 1}").starts_with("hm.yml: spool: unknown field `size`"));
        assert!(
            error("intervals: {agent_timeout: soon}")
                .starts_with("hm.yml: intervals.agent_timeout: invalid type")
        );
    }
}
