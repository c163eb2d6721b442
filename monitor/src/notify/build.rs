//! From an entry of the configuration to a plugin.
//!
//! Upstream looks a plugin up as a class: its name's parts, each with a capital and the rest small. So the name's own
//! capitals do not matter, and `data_dog` is DataDog.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;

use super::filter::Filter;
use super::plan::{Group, Limit};
use super::target::{Manner, Target};
use super::{
    Context, Error, Plugin, consul_event_forwarder, data_dog, email, event_logger, graphite, json,
    logger, pagerduty, resurrector, riemann, syslog, tsdb, webhook,
};
use crate::config;
use crate::event::Kind;

/// What a name may be.
pub(super) const NAMES: [&str; 13] = [
    "consul_event_forwarder",
    "data_dog",
    "email",
    "event_logger",
    "graphite",
    "json",
    "logger",
    "pagerduty",
    "resurrector",
    "riemann",
    "syslog",
    "tsdb",
    "webhook",
];

pub(super) enum Built {
    Plain(Box<dyn Plugin>),
    Target(Box<dyn Target>, Manner),
}

/// What an entry asks for beside the plugin's own options.
pub(super) struct Pace {
    pub(super) filter: Filter,
    pub(super) group: Option<Group>,
    pub(super) limit: Option<Limit>,
}

fn target<T: Target + 'static>(made: (T, Manner)) -> Built {
    Built::Target(Box::new(made.0), made.1)
}

/// Makes the plugin that an entry of the configuration asks for.
pub(super) fn build(
    entry: &config::Plugin,
    context: Option<&Context>,
) -> Result<(Built, Pace), Error> {
    let refused = |message: String| refuse(entry, format!("options.{message}"));
    let built = match entry.name.to_ascii_lowercase().as_str() {
        "consul_event_forwarder" => {
            target(consul_event_forwarder::new(options(entry)?).map_err(refused)?)
        }
        "data_dog" | "datadog" => target(data_dog::new(options(entry)?).map_err(refused)?),
        "email" => target(email::new(options(entry)?).map_err(refused)?),
        "event_logger" => target(event_logger::new(options(entry)?).map_err(refused)?),
        "graphite" => target(graphite::new(options(entry)?).map_err(refused)?),
        "json" => target(json::new(options(entry)?).map_err(refused)?),
        "logger" => target(logger::new(options(entry)?).map_err(refused)?),
        "pagerduty" => {
            let options: pagerduty::Options = options(entry)?;
            if options.is_v2() && entry.events.contains(&Kind::Heartbeat) {
                let message = "events: expected alert alone with options.routing_key".to_owned();
                return Err(refuse(entry, message));
            }
            target(pagerduty::new(options, entry.recovery).map_err(refused)?)
        }
        "resurrector" => {
            let context = context.ok_or_else(|| {
                refuse(
                    entry,
                    "name: expected a service beside the resurrector".to_owned(),
                )
            })?;
            let plugin = resurrector::Resurrector::new(options(entry)?, context.clone())
                .map_err(|error| refused(crate::sync::chain(&error)))?;
            Built::Plain(Box::new(plugin))
        }
        "riemann" => target(riemann::new(options(entry)?).map_err(refused)?),
        "syslog" => target(syslog::new(options(entry)?).map_err(refused)?),
        "tsdb" => target(tsdb::new(options(entry)?).map_err(refused)?),
        "webhook" => target(webhook::new(options(entry)?).map_err(refused)?),
        _ => {
            return Err(Error::Unknown {
                place: entry.place.clone(),
                name: entry.name.clone(),
            });
        }
    };
    let pace = Pace {
        filter: part(entry, "filter", &entry.filter)?.unwrap_or_default(),
        group: part(entry, "group", &entry.group)?,
        limit: part(entry, "limit", &entry.limit)?,
    };
    match &built {
        Built::Plain(_) => {
            let unheeded = [
                ("group", pace.group.is_some()),
                ("limit", pace.limit.is_some()),
                ("recovery", entry.recovery == Some(true)),
            ];
            if let Some((key, _)) = unheeded.iter().find(|(_, set)| *set) {
                let message = format!("{key}: expected nothing: the plugin tells nobody");
                return Err(refuse(entry, message));
            }
        }
        Built::Target(_, manner) if !manner.mergeable && pace.group.is_some() => {
            let message = "group: expected nothing: the plugin takes every alert on its own";
            return Err(refuse(entry, message.to_owned()));
        }
        Built::Target(..) => {}
    }
    Ok((built, pace))
}

fn options<T: DeserializeOwned>(entry: &config::Plugin) -> Result<T, Error> {
    let options = match &entry.options {
        Value::Null => Value::Mapping(Default::default()),
        options => options.clone(),
    };
    parse(entry, "options", options)
}

fn part<T: DeserializeOwned>(
    entry: &config::Plugin,
    key: &str,
    value: &Value,
) -> Result<Option<T>, Error> {
    match value {
        Value::Null => Ok(None),
        value => parse(entry, key, value.clone()).map(Some),
    }
}

fn parse<T: DeserializeOwned>(entry: &config::Plugin, key: &str, value: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => key.to_owned(),
            path => format!("{key}.{path}"),
        };
        refuse(entry, format!("{path}: {}", error.inner()))
    })
}

fn refuse(entry: &config::Plugin, message: String) -> Error {
    Error::Options {
        place: entry.place.clone(),
        message,
    }
}

/// A port as a number or, as upstream's users have it too, a text.
pub(super) fn port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u16),
        Text(String),
    }
    let found = match Port::deserialize(deserializer) {
        Ok(Port::Number(port)) => Some(port),
        Ok(Port::Text(text)) => text.trim().parse().ok(),
        Err(_) => None,
    };
    found
        .filter(|port| *port != 0)
        .ok_or_else(|| serde::de::Error::custom("expected a port, a number from 1 to 65535"))
}

/// What Ruby takes for true: all but nothing and false.
pub(super) fn truthy<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(!matches!(value, Value::Null | Value::Bool(false)))
}

/// Upstream's `max_retries`: at least -1, which stands for no limit. 35 without it. Source: protocols/tcp_connection.rb.
pub(super) fn max_retries<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if !number.is_finite() || number < -1. {
        let message = format!("expected a number of at least -1, found {number}");
        return Err(serde::de::Error::custom(message));
    }
    Ok((number >= 0.).then_some(number as u32))
}

/// The default of [`max_retries`].
pub(super) fn thirty_five() -> Option<u32> {
    Some(35)
}
