//! What comes over the bus.

use std::time::Instant;

use async_nats::Message;
use std::sync::Arc;

use super::turn::Service;
use crate::event::Event;
use crate::intake::message::{self, Sender};
use crate::intake::{Kind, Refusal, agent_id};
use crate::lease;
use crate::registry::Id;

/// A reason is logged as often as this; after that, only each power of two: nobody fills a disk by talking nonsense.
const LOGGED: u64 = 100;

impl Service {
    pub(super) fn heartbeat(&mut self, message: &Message, now: Instant, wall: i64, wanted: bool) {
        let agent = agent_id(&message.subject);
        let taken = message::check_agent(agent).and_then(|()| {
            self.registry
                .heartbeat(agent, &message.payload, now, wall, wanted)
        });
        match taken {
            Ok(heartbeat) => {
                self.tally.take(Kind::Heartbeat);
                if let Some(heartbeat) = heartbeat {
                    self.dispatcher
                        .publish(&Event::Heartbeat(Arc::new(heartbeat)));
                }
            }
            Err(refusal) => self.refuse(Kind::Heartbeat, &message.subject, &refusal),
        }
    }

    pub(super) fn agent_alert(&mut self, message: &Message) {
        let agent = agent_id(&message.subject);
        if let Err(refusal) = self.take_agent_alert(agent, message) {
            self.refuse(Kind::Alert, &message.subject, &refusal);
        }
    }

    fn take_agent_alert(&mut self, agent: &str, message: &Message) -> Result<(), Refusal> {
        message::check_agent(agent)?;
        let body = message::object(&message.payload)?;
        let id = Id::from(agent);
        if !self.registry.heard(&id, Instant::now()) {
            return Err(Refusal::Strangers);
        }
        let registry = &self.registry;
        let known = registry.agent(&id);
        let place = known.and_then(|agent| registry.instance(agent));
        let alert = message::agent_alert(body, || Sender {
            source: known.map_or_else(String::new, |agent| registry.name(&id, agent)),
            deployment: place.map(|(deployment, _)| deployment.name.to_string()),
            job: place.and_then(|(_, instance)| instance.job.as_deref().map(str::to_owned)),
            instance_id: place.map(|(_, instance)| instance.id.to_string()),
        })?;
        if let Some((deployment, instance)) = place {
            let job = instance.job.as_deref().unwrap_or_default();
            self.counts.process(&deployment.name, job, &alert.title);
        }
        let key = lease::key(&message.subject, &message.payload);
        self.heard_alert(Kind::Alert, key, alert)
    }

    pub(super) fn director_alert(&mut self, message: &Message) {
        let taken = message::object(&message.payload)
            .and_then(|body| message::director_alert(&body))
            .and_then(|alert| {
                let key = lease::key(&message.subject, &message.payload);
                self.heard_alert(Kind::DirectorAlert, key, alert)
            });
        if let Err(refusal) = taken {
            self.refuse(Kind::DirectorAlert, &message.subject, &refusal);
        }
    }

    /// A goodbye of an agent, or what another monitor says; what this one answers.
    pub(super) fn shutdown(&mut self, message: &Message) -> Option<lease::Message> {
        if message.subject.as_str() == lease::SUBJECT {
            return self.other_monitor(message);
        }
        let agent = agent_id(&message.subject);
        if let Err(refusal) = message::check_agent(agent) {
            self.refuse(Kind::Shutdown, &message.subject, &refusal);
            return None;
        }
        self.tally.take(Kind::Shutdown);
        if self.registry.forget(&Id::from(agent)) {
            tracing::info!("Agent '{agent}' shutting down...");
        }
        None
    }

    fn other_monitor(&mut self, message: &Message) -> Option<lease::Message> {
        let said: lease::Message = match serde_json::from_slice(&message.payload) {
            Ok(said) => said,
            Err(error) => {
                self.refuse(Kind::Shutdown, &message.subject, &Refusal::json(&error));
                return None;
            }
        };
        let now = Instant::now();
        self.kept.handled(&said.handled);
        let answer = self.lease.hear(&said, now);
        self.stand(now);
        answer
    }

    fn refuse(&mut self, kind: Kind, subject: &str, refusal: &Refusal) {
        let count = self.tally.refuse(kind, refusal);
        if *refusal == Refusal::Duplicate {
            tracing::debug!(subject, "ignoring duplicate {}", kind.name());
        } else if count <= LOGGED || count.is_power_of_two() {
            let subject: String = subject.chars().take(300).collect();
            tracing::error!(subject, count, "{}: {refusal}", kind.name());
        }
    }
}
