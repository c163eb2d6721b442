//! Plugins: whom to tell. Each runs in a task of its own behind a bounded queue, so that one whose target hangs, refuses or
//! is slow holds up nothing else. A full queue refuses what comes after and counts it.
//!
//! One file per plugin; a new one is a file and a line in [`build`].

mod email;
mod event_logger;
mod logger;
mod resurrector;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use crate::config;
use crate::event::{Event, Kind};
use crate::resurrect::Rules;
use crate::service::Handle;

/// How many events wait for one plugin at the most.
const QUEUE: usize = 10_000;

/// A plugin at work: takes events until there will be no more.
#[async_trait]
pub trait Plugin: Send {
    /// Runs until `events` ends, and delivers what is still in it before it returns.
    async fn run(self: Box<Self>, events: mpsc::Receiver<Event>);
}

/// What plugins may lean on beside their options.
#[derive(Clone)]
pub struct Context {
    /// The service, to raise alerts of their own and to ask for a deployment's members.
    pub service: Handle,
    /// The latest resurrection rules.
    pub rules: watch::Receiver<Rules>,
}

/// Why a plugin cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name.
    #[error(
        "plugins: cannot find '{0}' plugin; expected one of email, event_logger, logger, resurrector, webhook"
    )]
    Unknown(String),
    /// Its options are wrong.
    #[error("plugins: {plugin}: options: {message}")]
    Options {
        /// The plugin.
        plugin: String,
        /// Key and expectation.
        message: String,
    },
}

/// Makes the plugin that an entry of the configuration asks for.
fn build(entry: &config::Plugin, context: &Context) -> Result<Box<dyn Plugin>, Error> {
    Ok(match entry.name.as_str() {
        "email" => {
            Box::new(email::Email::new(options(entry)?).map_err(|message| refuse(entry, message))?)
        }
        "event_logger" => Box::new(
            event_logger::EventLogger::new(options(entry)?)
                .map_err(|error| refuse(entry, error.to_string()))?,
        ),
        "logger" => Box::new(
            logger::Logger::new(options(entry)?).map_err(|message| refuse(entry, message))?,
        ),
        "resurrector" => Box::new(
            resurrector::Resurrector::new(options(entry)?, context.clone())
                .map_err(|error| refuse(entry, error.to_string()))?,
        ),
        "webhook" => Box::new(
            webhook::Webhook::new(options(entry)?).map_err(|message| refuse(entry, message))?,
        ),
        other => return Err(Error::Unknown(other.to_owned())),
    })
}

fn options<T: DeserializeOwned>(entry: &config::Plugin) -> Result<T, Error> {
    serde_yaml_ng::from_value(entry.options.clone())
        .map_err(|error| refuse(entry, error.to_string()))
}

fn refuse(entry: &config::Plugin, message: String) -> Error {
    Error::Options {
        plugin: entry.name.clone(),
        message,
    }
}

/// All plugins of a configuration, running.
#[derive(Debug)]
pub struct Dispatcher {
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    plugin: String,
    events: Vec<Kind>,
    queue: mpsc::Sender<Event>,
    refused: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Dispatcher {
    /// Makes and starts all plugins, or none.
    pub fn start(plugins: &[config::Plugin], context: &Context) -> Result<Self, Error> {
        let built: Vec<_> = plugins
            .iter()
            .map(|entry| Ok((entry, build(entry, context)?)))
            .collect::<Result<_, Error>>()?;
        let routes = built.into_iter().map(|(entry, plugin)| {
            let (queue, events) = mpsc::channel(QUEUE);
            Route {
                plugin: entry.name.clone(),
                events: entry.events.clone(),
                queue,
                refused: Arc::default(),
                task: tokio::spawn(plugin.run(events)),
            }
        });
        Ok(Self {
            routes: routes.collect(),
        })
    }

    /// Whether any plugin asks for events of this kind.
    pub fn wants(&self, kind: Kind) -> bool {
        self.routes.iter().any(|route| route.events.contains(&kind))
    }

    /// Gives an event to every plugin that asks for its kind. Never waits.
    pub fn publish(&self, event: &Event) {
        for route in self
            .routes
            .iter()
            .filter(|route| route.events.contains(&event.kind()))
        {
            if route.queue.try_send(event.clone()).is_err() {
                let refused = route.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if refused.is_power_of_two() {
                    tracing::error!(
                        plugin = route.plugin,
                        refused,
                        "the plugin's queue of {QUEUE} is full; events are lost to it"
                    );
                }
            }
        }
    }

    /// Ends the queues and waits for what is in them to be delivered, for at most `limit`.
    pub async fn stop(self, limit: std::time::Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        for Route {
            plugin,
            queue,
            task,
            ..
        } in self.routes
        {
            drop(queue);
            let abort = task.abort_handle();
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                abort.abort();
                tracing::error!(plugin, "the plugin still had events to deliver");
            }
        }
    }
}
