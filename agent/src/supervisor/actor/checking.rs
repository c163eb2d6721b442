//! The tests of each cycle, in tasks of their own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::service::{Checked, Report, Service, Watched};
use crate::supervisor::checks::{self, Finding, Job, SystemFacts};
use crate::supervisor::service::Input;

impl Service {
    /// Runs the tests of a service in a task of their own, unless the last ones are not done yet.
    pub(super) fn check(&mut self, name: String) {
        let key = name.to_ascii_lowercase();
        let Some(definition) = self.definition(&name) else {
            return;
        };
        if !self.checking.insert(key.clone()) {
            tracing::debug!(service = %name, "the tests take longer than a cycle");
            return;
        }
        let now = Instant::now();
        if self
            .measured
            .is_none_or(|measured| now - measured >= Duration::from_millis(500))
        {
            self.measured = Some(now);
            self.system_facts = Some(SystemFacts::read(self.system_facts.as_ref()));
            self.measure(now);
        }
        let job = Job {
            definition: Arc::clone(&definition),
            vitals: self
                .watched
                .get(&key)
                .and_then(|watched| self.meter.vitals(watched.pid)),
            system: self.system_facts.unwrap_or_default(),
            memory: self.memories.remove(&key).unwrap_or_default(),
        };
        let report = self.report.clone();
        let (slots, pid) = (
            Arc::clone(&self.check_slots),
            self.watched.get(&key).map(|watched| watched.pid),
        );
        tokio::spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire_owned().await;
            let (findings, facts, memory) = checks::run(job).await;
            drop(report.send(Report::Checked(Box::new(Checked {
                name,
                definition,
                pid,
                findings,
                facts,
                memory,
            }))));
        });
    }

    /// Looks at all processes, those of the services with everything in their cgroups.
    pub(super) fn measure(&mut self, now: Instant) {
        let known = |watched: &Watched| self.meter.knows(watched.pid);
        if self.meter.is_fresh(now) && self.watched.values().all(known) {
            return;
        }
        let cgroups = &self.cgroups;
        let members = self
            .watched
            .iter()
            .map(|(name, watched)| (watched.pid, cgroups.members(name)));
        self.meter.refresh(members.collect(), now);
    }

    pub(super) fn on_checked(&mut self, checked: Checked) {
        let Checked {
            name,
            definition,
            pid,
            findings,
            facts,
            memory,
        } = checked;
        let key = name.to_ascii_lowercase();
        self.checking.remove(&key);
        // What was found about another process or by other rules says nothing about this one.
        let same_rules = self
            .definition(&name)
            .is_some_and(|now| Arc::ptr_eq(&now, &definition) || *now == *definition);
        if !same_rules || self.watched.get(&key).map(|watched| watched.pid) != pid {
            return;
        }
        self.memories.insert(key.clone(), memory);
        self.facts.insert(key, facts);
        for Finding {
            check,
            event,
            outcome,
        } in findings
        {
            self.feed(Input::Checked {
                name: name.clone(),
                check,
                event,
                outcome,
            });
        }
    }
}
