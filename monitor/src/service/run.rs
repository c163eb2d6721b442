//! Puts all parts together.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use super::handle::Handle;
use super::turn::{Inlets, Service};
use crate::config::Config;
use crate::director::{self, Director};
use crate::http;
use crate::intake::{self, Intake};
use crate::notify::{self, Dispatcher};
use crate::resurrect::Rules;
use crate::sync;

/// How long plugins may take to deliver what is left when the monitor stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// How many alerts a slow reader of the status page may be behind before it misses some.
const FEED: usize = 256;

/// Why the monitor does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No bus.
    #[error(transparent)]
    Intake(#[from] intake::Error),
    /// A plugin's name or options are wrong.
    #[error(transparent)]
    Plugin(#[from] notify::Error),
    /// The options of the director are wrong.
    #[error("director")]
    Director(#[from] director::Error),
    /// The bus client has given up.
    #[error("the connection to NATS has ended")]
    Disconnected,
}

/// Runs until `shutdown` resolves or the bus is gone. `listener` serves the HTTP interface.
pub async fn run(
    mut config: Config,
    listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    tracing::info!("HealthMonitor starting...");
    let director = Director::new(&config.director)?;
    // Its options are those of the metrics, and it has no events.
    config.plugins.retain(|plugin| plugin.name != "prometheus");
    let (requests, inbox) = mpsc::channel(1024);
    let (feed, _) = broadcast::channel(FEED);
    let handle = Handle { requests, feed };
    let (rules, watched) = watch::channel(Rules::default());
    let context = notify::Context {
        service: handle.clone(),
        rules: watched,
    };
    let dispatcher = Dispatcher::start(&config.plugins, &config.spool, &context)?;
    let intake = Intake::connect(&config.mbus).await?;
    tracing::info!("Connected to NATS at '{}'", config.mbus.endpoint);

    let (told, news) = mpsc::channel(16);
    let nudge = Arc::new(Notify::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(sync::run(director, config.intervals, nudge.clone(), told));
    if let Some(listener) = listener {
        let site = http::Site {
            service: handle.clone(),
            login: config.own.login.clone(),
            silences: dispatcher.silences(),
            plugins: dispatcher.stats(),
        };
        tasks.spawn(http::serve(listener, site));
    }
    let inlets = Inlets {
        inbox,
        news,
        intake,
    };
    let mut service = Service::new(config, dispatcher, rules, handle.feed, nudge);
    tracing::info!(
        "BOSH HealthMonitor {} is running...",
        env!("CARGO_PKG_VERSION")
    );
    let client = inlets.intake.client.clone();
    let outcome = tokio::select! {
        outcome = service.turn(inlets) => outcome,
        () = shutdown => Ok(()),
    };
    tracing::info!("HealthMonitor shutting down...");
    drop(tasks);
    service.stop(&client, FAREWELL).await;
    outcome
}
