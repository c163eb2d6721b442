//! All plugins of a configuration, running.
//!
//! An alert goes through a plugin's [`gate`](super::gate), into a queue, from there at once into its [`spool`](super::spool)
//! by a task that does nothing else (the keeper), and from there to the target by another (the courier): whatever a target
//! does, the alerts behind it are on disk. Heartbeats go through a queue to the courier; they are worth little when they are
//! old, and are never on disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::build::{self, Built};
use super::courier::Courier;
use super::gate::Gate;
use super::plan::{Pacing, Planner};
use super::silence::Silences;
use super::spool::Spool;
use super::stats::{Counters, Gauge, Source, Stats};
use super::target::Manner;
use super::{Context, Error, words};
use crate::config;
use crate::event::{Alert, Event, Heartbeat, Kind};

/// How many events of a kind wait for one plugin at the most: alerts on their way to the spool, heartbeats to the target.
pub(super) const QUEUE: usize = 10_000;

/// How many alerts are written down together.
const BATCH: usize = 1_000;

/// See the module.
pub struct Dispatcher {
    routes: Vec<Route>,
    silences: Silences,
    stats: Stats,
    closing: watch::Sender<bool>,
    /// Locked for as long as the spools are ours.
    _lock: Option<File>,
}

struct Route {
    plugin: String,
    events: Vec<Kind>,
    gate: Gate,
    queue: Queue,
    keeper: Option<JoinHandle<()>>,
    worker: JoinHandle<()>,
}

enum Queue {
    /// A plugin that takes events as they come.
    Plain(mpsc::Sender<Event>),
    /// A target with a spool.
    Kept {
        alerts: mpsc::Sender<Arc<Alert>>,
        heartbeats: mpsc::Sender<Arc<Heartbeat>>,
    },
}

#[derive(Debug)]
enum Waiting {
    Plain(mpsc::WeakSender<Event>),
    Kept(
        mpsc::WeakSender<Arc<Alert>>,
        mpsc::WeakSender<Arc<Heartbeat>>,
    ),
}

fn waiting<T>(queue: &mpsc::WeakSender<T>) -> usize {
    let queue = queue.upgrade();
    queue.map_or(0, |queue| queue.max_capacity() - queue.capacity())
}

impl Gauge for Waiting {
    fn queued(&self) -> usize {
        match self {
            Self::Plain(events) => waiting(events),
            Self::Kept(alerts, heartbeats) => waiting(alerts) + waiting(heartbeats),
        }
    }
}

impl Dispatcher {
    /// Makes and starts all plugins, or none. Within a runtime. Only the resurrector needs a context.
    pub fn start<'a>(
        plugins: &[config::Plugin],
        spool: &config::Spool,
        context: impl Into<Option<&'a Context>>,
    ) -> Result<Self, Error> {
        let context = context.into();
        let built: Vec<_> = plugins
            .iter()
            .map(|entry| Ok((entry, build::build(entry, context)?)))
            .collect::<Result<_, Error>>()?;
        for entry in plugins.iter().filter(|entry| !entry.misnamed.is_empty()) {
            let (place, kinds) = (&entry.place, entry.misnamed.join(", "));
            tracing::warn!(
                "{place}.events: {kinds}: there are no such events, upstream has none either; expected alert or heartbeat"
            );
        }
        let (dir, lock) = directory(spool)?;
        if let Some(dir) = &dir {
            warn_of_orphans(dir, plugins);
        }
        let file = dir.as_ref().map(|dir| dir.join("silences.json"));
        let kept = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Spool { path, source }
        };
        let silences = Silences::open(file.clone())
            .map_err(kept(file.as_deref().unwrap_or(Path::new("silences.json"))))?;
        let (closing, closed) = watch::channel(false);
        let (mut routes, mut sources) = (Vec::new(), Vec::new());
        for (entry, (built, pace)) in built {
            let counters = Arc::<Counters>::default();
            let (manner, target) = match built {
                Built::Plain(plugin) => (Manner::plain(), Err(plugin)),
                Built::Target(target, manner) => (manner, Ok(target)),
            };
            let journal = dir.as_deref().filter(|_| manner.durable);
            let spool = Spool::open(&entry.id, journal, spool.clone(), counters.clone())
                .map_err(kept(dir.as_deref().unwrap_or(Path::new("spool"))))?;
            let spool = Arc::new(spool);
            let gate = Gate {
                filter: pace.filter,
                silences: silences.clone(),
                repeat: entry.repeat,
                recovery: entry.recovery.unwrap_or(manner.recovery),
                acknowledgements: manner.acknowledgements,
                spool: spool.clone(),
                counters: counters.clone(),
            };
            let (queue, gauge, keeper, worker) = match target {
                Err(plugin) => {
                    let (queue, events) = mpsc::channel(QUEUE);
                    let gauge = Waiting::Plain(queue.downgrade());
                    let worker = tokio::spawn(plugin.run(events));
                    (Queue::Plain(queue), gauge, None, worker)
                }
                Ok(target) => {
                    let (alerts, taken) = mpsc::channel(QUEUE);
                    let (heartbeats, beats) = mpsc::channel(QUEUE);
                    let gauge = Waiting::Kept(alerts.downgrade(), heartbeats.downgrade());
                    let pacing = Pacing {
                        group: pace.group,
                        limit: pace.limit,
                        interval: manner.interval,
                        mergeable: manner.mergeable,
                    };
                    let courier = Courier {
                        plugin: entry.id.clone(),
                        target,
                        manner,
                        spool: spool.clone(),
                        heartbeats: beats,
                        planner: Planner::new(pacing, Instant::now()),
                        closing: closed.clone(),
                        counters: counters.clone(),
                        held: (Vec::new(), 0),
                    };
                    let keeper = tokio::spawn(keep(spool, taken));
                    let worker = tokio::spawn(courier.run());
                    (
                        Queue::Kept { alerts, heartbeats },
                        gauge,
                        Some(keeper),
                        worker,
                    )
                }
            };
            sources.push(Source {
                id: entry.id.clone(),
                name: entry.name.clone(),
                counters,
                queued: Box::new(gauge),
            });
            routes.push(Route {
                plugin: entry.id.clone(),
                events: entry.events.clone(),
                gate,
                queue,
                keeper,
                worker,
            });
        }
        Ok(Self {
            routes,
            silences,
            stats: Stats {
                plugins: Arc::new(sources),
            },
            closing,
            _lock: lock,
        })
    }

    /// Whether any plugin asks for events of this kind.
    pub fn wants(&self, kind: Kind) -> bool {
        self.routes.iter().any(|route| route.events.contains(&kind))
    }

    /// Gives an event to every plugin that asks for its kind. Never waits.
    pub fn publish(&self, event: &Event) {
        let now = words::wall();
        for route in &self.routes {
            if route.events.contains(&event.kind()) {
                route.publish(event, now);
            }
        }
    }

    /// The silences.
    pub fn silences(&self) -> Silences {
        self.silences.clone()
    }

    /// What happened to the events.
    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// The alerts that some plugin was told of and not of their end, by a monitor before this one.
    pub fn open(&self) -> Vec<Arc<Alert>> {
        let mut open = std::collections::HashMap::new();
        for route in &self.routes {
            route.gate.spool.told(|told| {
                for (key, told) in told.iter().filter(|(_, told)| told.alert.key.is_some()) {
                    open.entry(key.clone())
                        .or_insert_with(|| told.alert.clone());
                }
            });
        }
        open.into_values().collect()
    }

    /// Ends the queues and waits for what is in them to be delivered, for at most `limit`. What is not stays in the spools.
    pub async fn stop(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut workers = Vec::new();
        for route in self.routes {
            drop(route.queue);
            if let Some(keeper) = route.keeper {
                // Writing down is never cut short; it is quick.
                if let Err(error) = keeper.await {
                    tracing::error!(plugin = route.plugin, "the keeper has died: {error}");
                }
            }
            workers.push((route.plugin, route.worker));
        }
        self.closing.send_replace(true);
        for (plugin, worker) in workers {
            let abort = worker.abort_handle();
            if tokio::time::timeout_at(deadline, worker).await.is_err() {
                abort.abort();
                tracing::warn!(plugin, "the plugin still had events to deliver");
            }
        }
    }
}

impl Route {
    fn publish(&self, event: &Event, now: i64) {
        let taken = match (event, &self.queue) {
            (Event::Alert(alert), queue) => match (self.gate.alert(alert, now), queue) {
                (None, _) => true,
                (Some(alert), Queue::Plain(events)) => events.try_send(Event::Alert(alert)).is_ok(),
                (Some(alert), Queue::Kept { alerts, .. }) => alerts.try_send(alert).is_ok(),
            },
            (Event::Heartbeat(beat), queue) => {
                let passes = self.gate.heartbeat(beat, now);
                match queue {
                    _ if !passes => true,
                    Queue::Plain(events) => events.try_send(event.clone()).is_ok(),
                    Queue::Kept { heartbeats, .. } => heartbeats.try_send(beat.clone()).is_ok(),
                }
            }
        };
        if !taken {
            let lost = self.gate.counters.lost.add(1);
            if lost.is_power_of_two() {
                tracing::error!(
                    plugin = self.plugin,
                    lost,
                    "the plugin's queue of {QUEUE} is full; events are lost to it"
                );
            }
        }
    }
}

/// Writes alerts down as they come.
async fn keep(spool: Arc<Spool>, mut alerts: mpsc::Receiver<Arc<Alert>>) {
    loop {
        let mut batch = Vec::new();
        if alerts.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let spool = spool.clone();
        let written = tokio::task::spawn_blocking(move || spool.push(batch, words::wall())).await;
        if let Err(error) = written {
            tracing::error!("writing a spool: {error}");
        }
    }
}

/// Spools of plugins that are no longer there are kept, in case they come back.
fn warn_of_orphans(dir: &Path, plugins: &[config::Plugin]) {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let id = name.strip_suffix(".journal");
        if let Some(id) = id.filter(|id| plugins.iter().all(|plugin| plugin.id != *id)) {
            tracing::warn!(
                "{}: there is no plugin {id}: its alerts are not delivered",
                dir.join(&name).display()
            );
        }
    }
}

/// The spools' directory, made and locked. One that the file names has to be usable; without it, one that is not means that
/// alerts wait in memory.
fn directory(spool: &config::Spool) -> Result<(Option<PathBuf>, Option<File>), Error> {
    let Some(dir) = &spool.dir else {
        tracing::warn!("no spool.dir and no logfile: alerts wait in memory only");
        return Ok((None, None));
    };
    let made = std::fs::create_dir_all(dir).and_then(|()| {
        let lock = File::create(dir.join("lock"))?;
        lock.try_lock().map_err(std::io::Error::from)?;
        Ok(lock)
    });
    match made {
        Ok(lock) => Ok((Some(dir.clone()), Some(lock))),
        Err(source) if spool.named => Err(Error::Spool {
            path: dir.clone(),
            source,
        }),
        Err(error) => {
            let dir = dir.display();
            tracing::warn!("using the spool {dir}: {error}: alerts wait in memory only");
            Ok((None, None))
        }
    }
}
