//! The one task that owns the registry. Everything else sends it messages; it decides and never waits for a plugin, the
//! director or a client.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval_at};

use crate::config::Config;
use crate::director::{self, Director};
use crate::event::{Alert, Event, Kind};
use crate::intake::{self, Intake};
use crate::notify::{self, Dispatcher};
use crate::registry::{JobState, Registry};
use crate::resurrect::Rules;
use crate::sync::News;
use crate::{http, rules, sync};

/// The most event ids that are remembered to drop repeats.
const MAX_REMEMBERED: usize = 100_000;

/// How long plugins may take to deliver what is left when the monitor stops.
const FAREWELL: Duration = Duration::from_secs(5);

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

/// Numbers that probes ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Agents that have been silent for too long.
    UnresponsiveAgents,
    /// Agents that run and supervise nothing.
    UnhealthyAgents,
    /// All agents, and those without deployment as `unmanaged`.
    TotalAvailableAgents,
    /// Agents whose jobs fail.
    FailingInstances,
    /// Agents whose jobs are stopped.
    StoppedInstances,
    /// Agents that have not said how their jobs are.
    UnknownInstances,
}

enum Request {
    Raise(Alert),
    Members(String, oneshot::Sender<Vec<(String, String)>>),
    Count(Count, oneshot::Sender<Option<BTreeMap<String, usize>>>),
    Pulse(oneshot::Sender<()>),
}

/// Talks to the running service.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// Has an alert treated as if the monitor had found it itself.
    pub fn raise(&self, alert: Alert) {
        if let Err(error) = self.requests.try_send(Request::Raise(alert)) {
            tracing::error!("an alert of a plugin is lost: {error}");
        }
    }

    /// The members of a deployment, as [`Registry::members`] counts them.
    pub async fn members(&self, deployment: &str) -> Vec<(String, String)> {
        let deployment = deployment.to_owned();
        self.ask(|reply| Request::Members(deployment, reply))
            .await
            .unwrap_or_default()
    }

    /// Deployment -> number; `None` until the director has been heard once.
    pub async fn count(&self, count: Count) -> Option<BTreeMap<String, usize>> {
        self.ask(|reply| Request::Count(count, reply))
            .await
            .flatten()
    }

    /// Whether the service answers within `limit`.
    pub async fn pulse(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ask(Request::Pulse))
            .await
            .is_ok_and(|answer| answer.is_some())
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Runs until `shutdown` resolves or the bus is gone. `listener` serves the HTTP interface.
pub async fn run(
    config: Config,
    listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let director = Director::new(&config.director)?;
    let (requests, inbox) = mpsc::channel(1024);
    let handle = Handle { requests };
    let (rules, watched) = watch::channel(Rules::default());
    let dispatcher = Dispatcher::start(
        &config.plugins,
        &config.spool,
        &notify::Context {
            service: handle.clone(),
            rules: watched,
        },
    )?;
    let intake = Intake::connect(&config.mbus).await?;
    tracing::info!("connected to NATS at '{}'", config.mbus.endpoint);

    let (told, news) = mpsc::channel(16);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(sync::run(director, config.intervals, told));
    if let Some(listener) = listener {
        tasks.spawn(http::serve(listener, handle));
    }
    let mut service = Service {
        wants_heartbeats: dispatcher.wants(Kind::Heartbeat),
        config,
        dispatcher,
        registry: Registry::default(),
        remembered: HashMap::new(),
        rules,
        received: Received::default(),
    };
    tracing::info!(
        "BOSH HealthMonitor {} is running...",
        env!("CARGO_PKG_VERSION")
    );
    let outcome = tokio::select! {
        outcome = service.turn(intake, inbox, news) => outcome,
        () = shutdown => Ok(()),
    };
    tracing::info!("HealthMonitor shutting down...");
    drop(tasks);
    service.dispatcher.stop(FAREWELL).await;
    outcome
}

#[derive(Default)]
struct Received {
    heartbeats: u64,
    alerts: u64,
    invalid: u64,
}

struct Service {
    config: Config,
    registry: Registry,
    dispatcher: Dispatcher,
    wants_heartbeats: bool,
    /// Event id -> when it came.
    remembered: HashMap<String, Instant>,
    rules: watch::Sender<Rules>,
    received: Received,
}

impl Service {
    async fn turn(
        &mut self,
        mut intake: Intake,
        mut inbox: mpsc::Receiver<Request>,
        mut news: mpsc::Receiver<News>,
    ) -> Result<(), Error> {
        let intervals = self.config.intervals;
        let every = |period: Duration, first: Duration| {
            let mut interval = interval_at(tokio::time::Instant::now() + first, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let mut agents = every(
            intervals.analyze_agents,
            intervals.poll_grace_period + intervals.analyze_agents,
        );
        let mut instances = every(
            intervals.analyze_instances,
            intervals.poll_grace_period + intervals.analyze_instances,
        );
        let mut prune = every(intervals.prune_events, intervals.prune_events);
        let mut stats = every(intervals.log_stats, intervals.log_stats);
        let mut analyzed = Instant::now() + intervals.poll_grace_period;
        loop {
            tokio::select! {
                message = intake.heartbeats.next() => {
                    let message = message.ok_or(Error::Disconnected)?;
                    self.heartbeat(intake::agent_id(&message.subject), &message.payload);
                }
                message = intake.alerts.next() => {
                    let message = message.ok_or(Error::Disconnected)?;
                    self.agent_alert(intake::agent_id(&message.subject), &message.payload);
                }
                message = intake.shutdowns.next() => {
                    let message = message.ok_or(Error::Disconnected)?;
                    self.shutdown(intake::agent_id(&message.subject));
                }
                message = intake.director.next() => {
                    let message = message.ok_or(Error::Disconnected)?;
                    self.director_alert(&message.payload);
                }
                Some(news) = news.recv() => self.told(news),
                Some(request) = inbox.recv() => self.answer(request),
                _ = agents.tick() => {
                    let now = Instant::now();
                    // Whoever was silent while nobody could listen is not to blame: the connection was down, or this
                    // process or machine stood still.
                    let listening = *intake.connected.borrow_and_update();
                    let stalled = now.saturating_duration_since(analyzed) > 2 * intervals.analyze_agents;
                    if !listening || stalled {
                        tracing::warn!("could not listen for a while: the agents' silence does not count");
                        self.registry.excuse_silence(now);
                    }
                    analyzed = now;
                    self.analyze_agents(now);
                }
                Ok(()) = intake.connected.changed() => {
                    if *intake.connected.borrow_and_update() {
                        self.registry.excuse_silence(Instant::now());
                    }
                }
                _ = instances.tick() => self.analyze_instances(),
                _ = prune.tick() => self.remembered.retain(|_, at| at.elapsed() < intervals.prune_events),
                _ = stats.tick() => self.log_stats(),
            }
        }
    }

    fn heartbeat(&mut self, agent: &str, payload: &[u8]) {
        match self.registry.heartbeat(
            agent,
            payload,
            Instant::now(),
            wall(),
            self.wants_heartbeats,
        ) {
            Ok(heartbeat) => {
                self.received.heartbeats += 1;
                if let Some(heartbeat) = heartbeat {
                    self.dispatcher
                        .publish(&Event::Heartbeat(Arc::new(heartbeat)));
                }
            }
            Err(error) => self.invalid("heartbeat", agent, &error.to_string()),
        }
    }

    fn agent_alert(&mut self, agent: &str, payload: &[u8]) {
        let mut message = match serde_json::from_slice::<serde_json::Map<String, Value>>(payload) {
            Ok(message) => message,
            Err(error) => return self.invalid("alert", agent, &error.to_string()),
        };
        if self.registry.heard(agent, Instant::now()).is_none() {
            return self.invalid(
                "alert",
                agent,
                "too many agents are not part of any deployment",
            );
        }
        if !message.contains_key("source")
            && let Some(known) = self.registry.agent(agent)
        {
            message.insert("source".into(), known.name(agent, &self.registry).into());
            if let Some((deployment, instance)) = self.registry.instance(known) {
                message.insert("deployment".into(), deployment.into());
                message.insert("job".into(), instance.job.as_deref().into());
                message.insert("instance_id".into(), instance.id.to_string().into());
            }
        }
        match Alert::from_bus(&message) {
            Ok(alert) => self.publish(alert),
            Err(error) => self.invalid("alert", agent, &error.to_string()),
        }
    }

    fn shutdown(&mut self, agent: &str) {
        if self.registry.forget(agent) {
            tracing::info!("agent '{agent}' shutting down...");
        }
    }

    fn director_alert(&mut self, payload: &[u8]) {
        let message = match serde_json::from_slice::<serde_json::Map<String, Value>>(payload) {
            Ok(message) => message,
            Err(error) => return self.invalid("alert", "director", &error.to_string()),
        };
        let missing = ["id", "severity", "title", "summary", "created_at"]
            .iter()
            .find(|key| !message.contains_key(**key));
        if let Some(key) = missing {
            return self.invalid("alert", "director", &format!("the key '{key}' was missing"));
        }
        match Alert::from_bus(&message) {
            Ok(alert) => self.publish(alert),
            Err(error) => self.invalid("alert", "director", &error.to_string()),
        }
    }

    fn told(&mut self, news: News) {
        match news {
            News::Deployments(told) => self.registry.sync(told, Instant::now()),
            News::Resurrection(rules) => _ = self.rules.send_replace(rules),
            News::Unreachable(error) => {
                tracing::error!("{error}");
                let alert = Alert::new(3, "Health monitor failed to connect to director", wall());
                self.publish(Alert {
                    summary: error,
                    source: Some("hm".to_owned()),
                    ..alert
                });
            }
        }
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked may have gone away; that is its own business.
        match request {
            Request::Raise(alert) => self.publish(alert),
            Request::Members(deployment, reply) => {
                _ = reply.send(self.registry.members(&deployment))
            }
            Request::Count(count, reply) => {
                _ = reply.send(self.registry.synced().then(|| self.count(count)))
            }
            Request::Pulse(reply) => _ = reply.send(()),
        }
    }

    fn count(&self, count: Count) -> BTreeMap<String, usize> {
        let now = Instant::now();
        let timeout = self.config.intervals.agent_timeout;
        match count {
            Count::UnresponsiveAgents => self.registry.count(|agent| agent.timed_out(now, timeout)),
            Count::UnhealthyAgents => self
                .registry
                .count(|agent| agent.job_state == JobState::Running && agent.processes == Some(0)),
            Count::FailingInstances => self
                .registry
                .count(|agent| agent.job_state == JobState::Failing),
            Count::StoppedInstances => self
                .registry
                .count(|agent| agent.job_state == JobState::Stopped),
            Count::UnknownInstances => self
                .registry
                .count(|agent| agent.job_state == JobState::Unknown),
            Count::TotalAvailableAgents => {
                let mut counted = self.registry.count(|_| true);
                counted.insert("unmanaged".to_owned(), self.registry.unmanaged());
                counted
            }
        }
    }

    fn analyze_agents(&mut self, now: Instant) {
        let findings = rules::agents(&self.registry, &self.config.intervals, now, wall());
        findings
            .forget
            .iter()
            .for_each(|id| _ = self.registry.forget(id));
        findings
            .alerts
            .into_iter()
            .for_each(|alert| self.publish(alert));
    }

    fn analyze_instances(&mut self) {
        rules::instances(&self.registry, wall())
            .into_iter()
            .for_each(|alert| self.publish(alert));
    }

    /// Gives an alert to the plugins, unless it has been given before.
    fn publish(&mut self, alert: Alert) {
        if self.remembered.contains_key(&alert.id) {
            return tracing::debug!("ignoring duplicate alert '{}'", alert.id);
        }
        if self.remembered.len() < MAX_REMEMBERED {
            self.remembered.insert(alert.id.clone(), Instant::now());
        }
        self.received.alerts += 1;
        self.dispatcher.publish(&Event::Alert(Arc::new(alert)));
    }

    fn invalid(&mut self, kind: &str, from: &str, error: &str) {
        self.received.invalid += 1;
        tracing::error!(from, "invalid {kind}: {error}");
    }

    fn log_stats(&self) {
        let (deployments, agents) = (
            self.registry.deployments().len(),
            self.registry.agents().count(),
        );
        let Received {
            heartbeats,
            alerts,
            invalid,
        } = self.received;
        tracing::info!("managing {deployments} deployments, {agents} agents");
        tracing::info!(
            "agent heartbeats received = {heartbeats}, alerts = {alerts}, invalid messages = {invalid}"
        );
    }
}

fn wall() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}
