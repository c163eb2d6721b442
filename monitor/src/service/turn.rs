//! The loop: one thing at a time, none before the others; heartbeats, of which there are many, in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::{Client, Message};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at};
use uuid::Uuid;

use super::attention::{Attention, Lapse};
use super::duty::Kept;
use super::handle::Request;
use super::recent::Recent;
use super::run::Error;
use super::view::AlertCounts;
use crate::config::{Config, Intervals};
use crate::event::{Alert, Event, Kind};
use crate::intake::{Intake, Tally};
use crate::lease::{self, Lease, Standing};
use crate::notify::Dispatcher;
use crate::notify::recovery::Tracker;
use crate::registry::Registry;
use crate::resurrect::Rules;
use crate::rules::about;
use crate::rules::outage::Outage;
use crate::sync::News;

/// How many heartbeats are taken before anything else gets its turn.
const BATCH: usize = 256;

/// For how long the bus may be gone before people are told.
const BUS_PATIENCE: Duration = Duration::from_secs(15);

/// Where everything comes in.
pub(super) struct Inlets {
    pub(super) inbox: mpsc::Receiver<Request>,
    pub(super) news: mpsc::Receiver<News>,
    pub(super) intake: Intake,
}

pub(super) struct Service {
    pub(super) config: Config,
    pub(super) registry: Registry,
    pub(super) dispatcher: Dispatcher,
    pub(super) wants_heartbeats: bool,
    pub(super) rules: watch::Sender<Rules>,
    pub(super) feed: broadcast::Sender<Arc<Alert>>,
    pub(super) nudge: Arc<Notify>,
    pub(super) lease: Lease,
    /// What the lease said last, to notice changes.
    pub(super) standing: Standing,
    pub(super) kept: Kept,
    pub(super) attention: Attention,
    pub(super) connected: bool,
    pub(super) disconnected_since: Option<Instant>,
    pub(super) recent: Recent,
    pub(super) tracker: Tracker,
    pub(super) outage: Option<Outage>,
    pub(super) tally: Tally,
    pub(super) counts: AlertCounts,
    pub(super) sync: Sync,
    pub(super) analysis: Option<Duration>,
}

/// What is known about the talks with the director.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// When the last question began that has been answered, or failed.
    pub(super) asked: Option<Instant>,
    /// When the director last answered.
    pub(super) heard: Option<Instant>,
    /// Why it did not the last time, or not about every deployment.
    pub(super) error: Option<String>,
    /// Whether it did not say anything the last time.
    pub(super) stale: bool,
    /// Whether an analysis waits for the next answer.
    pub(super) awaited: bool,
    pub(super) took: Option<Duration>,
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Service {
    pub(super) fn new(
        config: Config,
        dispatcher: Dispatcher,
        rules: watch::Sender<Rules>,
        feed: broadcast::Sender<Arc<Alert>>,
        nudge: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        let mut tracker = Tracker::default();
        let intervals = &config.intervals;
        let patience = intervals.poll_grace_period
            + 2 * intervals.analyze_agents.max(intervals.analyze_instances)
            + intervals.agent_timeout;
        tracker.resume(dispatcher.open(), wall() + patience.as_secs() as i64);
        Self {
            wants_heartbeats: dispatcher.wants(Kind::Heartbeat),
            lease: Lease::new(Uuid::new_v4(), config.own.lease_interval),
            attention: Attention::new(intervals.agent_timeout, now, since_epoch()),
            config,
            dispatcher,
            registry: Registry::new(now),
            rules,
            feed,
            nudge,
            standing: Standing::Undecided,
            kept: Kept::default(),
            connected: true,
            disconnected_since: None,
            recent: Recent::default(),
            tracker,
            outage: None,
            tally: Tally::default(),
            counts: AlertCounts::default(),
            sync: Sync::default(),
            analysis: None,
        }
    }

    pub(super) async fn turn(&mut self, inlets: Inlets) -> Result<(), Error> {
        let Inlets {
            mut inbox,
            mut news,
            mut intake,
        } = inlets;
        let mut timers = Timers::new(&self.config.intervals, self.config.own.lease_interval);
        loop {
            tokio::select! {
                _ = timers.pulse.tick() => {
                    if let Some(message) = self.pulse(&intake) {
                        say(&intake.client, &message).await;
                    }
                    self.heartbeats(&mut intake, None)?;
                }
                Some(news) = news.recv() => self.told(news),
                Some(request) = inbox.recv() => self.answer(request),
                message = intake.shutdowns.next() => {
                    let message = message.ok_or(Error::Disconnected)?;
                    if let Some(answer) = self.shutdown(&message) {
                        say(&intake.client, &answer).await;
                    }
                }
                message = intake.alerts.next() => {
                    self.agent_alert(&message.ok_or(Error::Disconnected)?);
                    for _ in 0..BATCH {
                        let Some(message) = intake.alerts.next().now_or_never() else { break };
                        self.agent_alert(&message.ok_or(Error::Disconnected)?);
                    }
                    self.tell(&intake.client).await;
                }
                message = intake.director.next() => {
                    self.director_alert(&message.ok_or(Error::Disconnected)?);
                    self.tell(&intake.client).await;
                }
                _ = timers.agents.tick() => {
                    self.pulse_clocks(&intake);
                    self.heartbeats(&mut intake, None)?;
                    self.analyze_agents(true);
                }
                _ = timers.instances.tick() => self.analyze_instances(),
                _ = timers.prune.tick() => {
                    self.recent.prune(self.config.intervals.prune_events, Instant::now());
                }
                _ = timers.stats.tick() => self.log_stats(),
                message = intake.heartbeats.next() => {
                    let message = message.ok_or(Error::Disconnected)?;
                    self.heartbeats(&mut intake, Some(message))?;
                }
            }
        }
    }

    /// Takes heartbeats that are there, but not so many that everything else has to wait.
    fn heartbeats(&mut self, intake: &mut Intake, first: Option<Message>) -> Result<(), Error> {
        let (now, wall) = (Instant::now(), wall());
        let wanted = self.wants_heartbeats && self.lease.standing(now) == Standing::Leader;
        if let Some(message) = first {
            self.heartbeat(&message, now, wall, wanted);
        }
        for _ in 0..BATCH {
            match intake.heartbeats.next().now_or_never() {
                Some(message) => {
                    let message = message.ok_or(Error::Disconnected)?;
                    self.heartbeat(&message, now, wall, wanted);
                }
                None => {
                    if self.connected {
                        self.attention.caught_up(now);
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tells other monitors at once which alerts have been handed on: this one may not live until the next beat.
    async fn tell(&mut self, client: &Client) {
        if let Some(message) = self.lease.tick(Instant::now()) {
            say(client, &message).await;
        }
    }

    /// Looks at clocks and connection, and talks to other monitors.
    fn pulse(&mut self, intake: &Intake) -> Option<lease::Message> {
        self.pulse_clocks(intake);
        let now = Instant::now();
        self.lease
            .muted(intake.trouble.mute.load(Ordering::Relaxed));
        let message = self.lease.tick(now);
        self.stand(now);
        self.watch_bus(now);
        message
    }

    /// Whoever was silent while nobody could listen is not to blame.
    fn pulse_clocks(&mut self, intake: &Intake) {
        let now = Instant::now();
        let trouble = &intake.trouble;
        let lapse = self.attention.connection(
            trouble.disconnects.load(Ordering::Relaxed),
            trouble.dropped.load(Ordering::Relaxed),
        );
        if lapse == Some(Lapse::Disconnected) {
            self.lease.connection(false, now);
        }
        let connected = *intake.connected.borrow();
        if connected && !self.connected {
            self.registry.excuse_silence(now);
        }
        if connected != self.connected {
            self.disconnected_since = (!connected).then_some(now);
        }
        self.connected = connected;
        self.lease.connection(connected, now);
        let (stall, stepped) = self.attention.pulse(now, since_epoch());
        if stepped {
            tracing::warn!(
                "the clock was set; nothing depends on it but the times people are shown"
            );
            self.lease.doubt();
        }
        for lapse in [lapse, stall].into_iter().flatten() {
            tracing::warn!(
                ?lapse,
                "could not listen for a while: the agents' silence does not count"
            );
            self.registry.excuse_silence(now);
        }
    }

    /// Notices that this monitor has come to lead, or no longer does.
    pub(super) fn stand(&mut self, now: Instant) {
        let standing = self.lease.standing(now);
        let interval = self.config.own.lease_interval;
        self.kept.prune(standing, interval, now);
        if standing == self.standing {
            return;
        }
        tracing::info!(
            ?standing,
            alone = self.lease.alone(),
            "this monitor's standing"
        );
        self.standing = standing;
        if standing == Standing::Leader {
            for (key, alert) in self.kept.take() {
                self.dispatcher.publish(&Event::Alert(Arc::new(alert)));
                self.lease.handled(key);
            }
        }
    }

    /// Tells people that the bus is gone, once that has lasted.
    fn watch_bus(&mut self, now: Instant) {
        let gone = |since: Instant| now.saturating_duration_since(since) >= BUS_PATIENCE;
        let gone = self.disconnected_since.is_some_and(gone);
        if gone != self.tracker.is_open(about::BUS) {
            let found: Vec<_> = gone.then(|| about::bus(wall())).into_iter().collect();
            self.round("bus", found, Vec::new());
        }
    }

    pub(super) async fn stop(mut self, client: &Client, limit: Duration) {
        let farewell = self.lease.farewell(Instant::now());
        self.dispatcher.stop(limit).await;
        if let Some(message) = farewell {
            say(client, &message).await;
            let flushed = tokio::time::timeout(Duration::from_secs(1), client.flush()).await;
            if !matches!(flushed, Ok(Ok(()))) {
                tracing::info!("could not say goodbye: another monitor will notice by itself");
            }
        }
    }

    pub(super) fn log_stats(&self) {
        let deployments = self.registry.deployments();
        let missing = deployments.iter().flat_map(|of| of.instances.iter());
        // Upstream counts an agent that ought to be there too.
        let missing = missing.filter(|of| of.agent_id.is_none() && of.misses_vm());
        let agents = self.registry.len() + missing.count();
        let refused: BTreeMap<_, _> = self
            .tally
            .refused()
            .filter(|(.., count)| *count > 0)
            .map(|(kind, reason, count)| (format!("{} {reason}", kind.name()), count))
            .collect();
        tracing::info!(
            "Managing {}, {}",
            plural(deployments.len(), "deployment"),
            plural(agents, "agent")
        );
        tracing::info!(
            "Agent heartbeats received = {}",
            self.tally.taken(crate::intake::Kind::Heartbeat)
        );
        tracing::info!(
            alerts = self.tally.taken(crate::intake::Kind::Alert),
            lag = ?self.attention.lag(Instant::now()),
            ?refused,
            "other messages"
        );
    }
}

/// Says something to the other monitors. What cannot be said is not heard, which is what the lease reckons with.
async fn say(client: &Client, message: &lease::Message) {
    let payload = match serde_json::to_vec(message) {
        Ok(payload) => payload,
        Err(error) => return tracing::error!("writing a message to other monitors: {error}"),
    };
    if let Err(error) = client.publish(lease::SUBJECT, payload.into()).await {
        tracing::warn!("telling other monitors: {error}");
    }
}

struct Timers {
    pulse: tokio::time::Interval,
    agents: tokio::time::Interval,
    instances: tokio::time::Interval,
    prune: tokio::time::Interval,
    stats: tokio::time::Interval,
}

impl Timers {
    fn new(intervals: &Intervals, lease: Duration) -> Self {
        let every = |period: Duration, first: Duration| {
            let mut interval = interval_at(tokio::time::Instant::now() + first, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let after_grace = |period| every(period, intervals.poll_grace_period + period);
        Self {
            pulse: every(Lease::period(lease), Duration::ZERO),
            agents: after_grace(intervals.analyze_agents),
            instances: after_grace(intervals.analyze_instances),
            prune: every(intervals.prune_events, intervals.prune_events),
            stats: every(intervals.log_stats, intervals.log_stats),
        }
    }
}

/// Seconds since the epoch.
pub(super) fn wall() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

pub(super) fn plural(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
