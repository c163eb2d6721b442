//! What the timers and the director's news do, and who is told of it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use super::handle::{Count, Request};
use super::turn::{Service, plural, wall};
use super::view::{Instances, Line, Overview, SHOWN, Seen, Sheet, Vital};
use crate::event::{Alert, Event};
use crate::intake::{Kind, Refusal};
use crate::lease::Standing;
use crate::registry::Counts;
use crate::rules::{self, Moment, about};
use crate::sync::News;

impl Service {
    /// An alert off the bus, with its [key](crate::lease::key).
    pub(super) fn heard_alert(
        &mut self,
        kind: Kind,
        key: u64,
        alert: Alert,
    ) -> Result<(), Refusal> {
        let now = Instant::now();
        if !self.recent.is_new(&alert, now) {
            return Err(Refusal::Duplicate);
        }
        self.tally.take(kind);
        self.note(&alert);
        if self.lease.standing(now) == Standing::Leader {
            self.dispatcher.publish(&Event::Alert(Arc::new(alert)));
            self.lease.handled(key);
        } else {
            self.kept.keep(key, alert, now);
        }
        Ok(())
    }

    /// An alert that the monitor or a plugin has found.
    fn raise(&mut self, alert: Alert) {
        let now = Instant::now();
        if !self.recent.is_new(&alert, now) {
            return;
        }
        self.note(&alert);
        if self.tells(now) {
            self.dispatcher.publish(&Event::Alert(Arc::new(alert)));
        }
    }

    /// Whether this monitor tells people what it finds: it leads, or there never was another and the bus is gone.
    fn tells(&self, now: Instant) -> bool {
        self.lease.standing(now) == Standing::Leader || (!self.connected && self.lease.alone())
    }

    fn note(&mut self, alert: &Alert) {
        let known = alert.deployment.as_deref();
        let known = known.filter(|name| self.registry.deployment(name).is_some());
        self.counts.count(known, alert.severity);
        let alert = Arc::new(alert.clone());
        if self.recent.push(alert.clone()) {
            // Nobody may be looking.
            _ = self.feed.send(alert);
        }
    }

    /// What a round of an analysis found: raises it, and the recoveries of what it no longer finds.
    pub(super) fn round(&mut self, scope: &str, found: Vec<Alert>, known: Vec<Alert>) {
        let all: Vec<_> = found.iter().chain(&known).cloned().collect();
        let recoveries = self.tracker.round(scope, &all, wall());
        for alert in found.into_iter().chain(recoveries) {
            self.raise(alert);
        }
    }

    pub(super) fn told(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Deployments {
                began,
                took,
                told,
                error,
            } => {
                if took > self.config.intervals.poll_director {
                    tracing::warn!(?took, "the director is slow");
                }
                self.registry.sync(told, began, now);
                self.sync.heard = Some(now);
                self.sync.took = Some(took);
                self.sync.stale = false;
                self.asked(began, error);
            }
            News::NoDeployments { began, error } => {
                self.sync.stale = true;
                self.asked(began, Some(error));
            }
            News::Resurrection(rules) => {
                self.rules.send_if_modified(|current| {
                    let changed = *current != rules;
                    if changed {
                        tracing::info!("Resurrection config update finished");
                    }
                    *current = rules;
                    changed
                });
            }
            News::NoResurrection(error) => {
                tracing::error!("{error}");
                self.raise(about::director(error, wall()));
            }
        }
    }

    /// Takes note of an answer of the director, or of none.
    fn asked(&mut self, began: Instant, error: Option<String>) {
        self.sync.asked = self.sync.asked.max(Some(began));
        match &error {
            None => self.sync.good += 1,
            Some(error) => {
                self.sync.bad += 1;
                tracing::error!("{error}");
            }
        }
        let found = error.clone().map(|error| about::director(error, wall()));
        self.sync.error = error;
        self.round("director", found.into_iter().collect(), Vec::new());
        if std::mem::take(&mut self.sync.awaited) {
            self.analyze_agents(false);
        }
    }

    /// Looks for silent and stray agents. With `may_ask`, has the director asked first about those that fell silent since it
    /// last was.
    pub(super) fn analyze_agents(&mut self, may_ask: bool) {
        if !self.connected {
            tracing::debug!("not analyzing agents: the bus is gone");
            return;
        }
        let began = Instant::now();
        let moment = Moment {
            now: self.attention.heard_until(),
            wall: wall(),
            asked: self.sync.asked,
        };
        let findings = rules::agents::analyze(
            &self.registry,
            &self.config.intervals,
            &self.config.own.outage,
            self.outage.as_ref(),
            moment,
        );
        if findings.ask && may_ask {
            self.sync.awaited = true;
            self.nudge.notify_one();
        }
        for id in &findings.forget {
            self.registry.forget(id);
        }
        let tells = self.tells(began);
        self.outage = findings.outage.map(|mut outage| {
            // Whoever leads next tells it again, rather than nobody.
            outage.told &= tells;
            outage
        });
        self.analysis = Some(began.elapsed());
        tracing::debug!(
            "Analyzed {}, took {:?}",
            plural(findings.analyzed, "agent"),
            began.elapsed()
        );
        let scoped = |alerts: Vec<Alert>, scope: &str| -> Vec<Alert> {
            let inside = |alert: &Alert| {
                let key = alert.key.as_deref().unwrap_or_default();
                key.split('/').next() == Some(scope)
            };
            alerts.into_iter().filter(inside).collect()
        };
        for scope in ["outage", "rogue", "agents"] {
            let found = scoped(findings.alerts.clone(), scope);
            self.round(scope, found, scoped(findings.known.clone(), scope));
        }
    }

    pub(super) fn analyze_instances(&mut self) {
        if self.sync.stale || !self.registry.synced() {
            tracing::debug!("not analyzing instances: what is known of them is old");
            return;
        }
        let began = Instant::now();
        let findings = rules::instances::analyze(&self.registry, wall());
        tracing::debug!(
            "Analyzed {}, took {:?}",
            plural(findings.analyzed, "instance"),
            began.elapsed()
        );
        self.round("instances", findings.alerts, findings.known);
    }

    pub(super) fn answer(&mut self, request: Request) {
        // Whoever asked may have gone away; that is its own business.
        match request {
            Request::Raise(alert) => self.raise(*alert),
            Request::Members(deployment, reply) => {
                _ = reply.send(self.registry.members(&deployment));
            }
            Request::MayRepair(reply) => {
                let leads = self.lease.standing(Instant::now()) == Standing::Leader;
                _ = reply.send(leads);
            }
            Request::Count(count, reply) => {
                _ = reply.send(self.registry.synced().then(|| self.count(count)));
            }
            Request::Overview(reply) => _ = reply.send(self.overview()),
            Request::Instances(deployment, reply) => {
                _ = reply.send(self.instances(&deployment));
            }
            Request::Alerts(reply) => {
                let current = self.tracker.open().cloned().collect();
                let past = self.recent.alerts().cloned().collect();
                _ = reply.send((current, past));
            }
            Request::Sheet(reply) => _ = reply.send(self.sheet()),
            Request::Pulse(reply) => _ = reply.send(()),
        }
    }

    fn counts(&self) -> Vec<(Arc<str>, Counts)> {
        let timeout = self.config.intervals.agent_timeout;
        self.registry.counts(Instant::now(), timeout)
    }

    fn count(&self, count: Count) -> Map<String, Value> {
        let of = |counts: Counts| match count {
            Count::UnresponsiveAgents => counts.unresponsive,
            Count::UnhealthyAgents => counts.unhealthy,
            Count::FailingInstances => counts.failing,
            Count::StoppedInstances => counts.stopped,
            Count::UnknownInstances => counts.unknown,
            Count::TotalAvailableAgents => counts.agents,
        };
        let mut counted: Map<_, _> = self
            .counts()
            .into_iter()
            .map(|(name, counts)| (name.to_string(), of(counts).into()))
            .collect();
        if count == Count::TotalAvailableAgents {
            counted.insert("unmanaged".to_owned(), self.registry.unmanaged().into());
        }
        counted
    }

    fn overview(&self) -> Overview {
        let now = Instant::now();
        let deployments = self.registry.deployments().iter().zip(self.counts());
        Overview {
            time: wall(),
            standing: match self.lease.standing(now) {
                Standing::Leader => "leader",
                Standing::Follower => "follower",
                Standing::Undecided => "undecided",
            },
            alone: self.lease.alone(),
            connected: self.connected,
            sync_age: self
                .sync
                .heard
                .map(|at| now.duration_since(at).as_secs_f64()),
            director_error: self.sync.error.clone(),
            lag: self.attention.lag(now).as_secs_f64(),
            agents: self.registry.len(),
            unmanaged: self.registry.unmanaged(),
            heartbeats: self.tally.taken(Kind::Heartbeat),
            alerts: self.counts.deployments.values().sum(),
            refused: self.tally.refused().map(|(.., count)| count).sum(),
            outage: self.outage.is_some(),
            deployments: deployments
                .map(|(deployment, (_, counts))| Line::new(deployment, counts))
                .collect(),
        }
    }

    fn instances(&self, name: &str) -> Option<Instances> {
        let now = Instant::now();
        let timeout = self.config.intervals.agent_timeout;
        let deployment = self.registry.deployment(name)?;
        let seen = deployment.instances.iter().take(SHOWN).map(|instance| {
            let agent = instance.agent_id.as_ref();
            let agent = agent.and_then(|id| self.registry.agent(id)).map(|agent| {
                let silence = self.registry.silence(agent, now);
                (agent, silence, silence > timeout)
            });
            Seen::new(instance, agent)
        });
        Some(Instances {
            deployment: deployment.name.clone(),
            total: deployment.instances.len(),
            instances: seen.collect(),
        })
    }

    fn sheet(&self) -> Sheet {
        let now = Instant::now();
        let timeout = self.config.intervals.agent_timeout;
        let limit = self.config.own.max_instances;
        let deployments = self.registry.deployments();
        let all = deployments.iter().flat_map(|deployment| {
            let instances = deployment.instances.iter();
            instances.filter_map(move |instance| {
                let agent = self.registry.agent(instance.agent_id.as_ref()?)?;
                Some((deployment, instance, agent))
            })
        });
        let total = all.clone().count();
        let instances = all.take(limit).map(|(deployment, instance, agent)| {
            let silence = self.registry.silence(agent, now);
            Vital {
                deployment: deployment.name.clone(),
                id: instance.id.clone(),
                job: instance.job.clone(),
                index: instance.index,
                az: instance.az.clone(),
                responsive: silence <= timeout,
                silence,
                job_state: agent.job_state(),
                processes: agent.processes(),
                vitals: agent
                    .detail()
                    .map(|detail| detail.vitals)
                    .unwrap_or_default(),
            }
        });
        Sheet {
            overview: self.overview(),
            standing: self.lease.standing(now),
            tally: self.tally,
            lapses: self.attention.lapses(),
            kept: self.kept.len(),
            remembered: self.recent.remembered(),
            alerts: self.counts.clone(),
            sync_seconds: self.sync.took.map(|took| took.as_secs_f64()),
            syncs: (self.sync.good, self.sync.bad),
            analysis_seconds: self.analysis.map(|took| took.as_secs_f64()),
            instances: instances.collect(),
            omitted: total.saturating_sub(limit),
        }
    }
}
