//! All tests of one service.

use std::sync::Arc;
use std::time::Duration;

use super::facts::{Facts, SystemFacts};
use super::files::{FileMemory, look};
use super::{connect, ping, resources};
use crate::supervisor::monitrc::{Condition, Kind, Service};
use crate::supervisor::service::{Event, Outcome, Vitals};

/// What the tests of a service need.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Job {
    pub(in crate::supervisor) definition: Arc<Service>,
    pub(in crate::supervisor) vitals: Option<Vitals>,
    pub(in crate::supervisor) system: SystemFacts,
    pub(in crate::supervisor) memory: Memory,
}

/// What is remembered from cycle to cycle.
#[derive(Clone, Debug, Default)]
pub(in crate::supervisor) struct Memory {
    file: FileMemory,
    parent: Option<i32>,
}

/// A result; without a number it is about the service's existence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) struct Finding {
    pub(in crate::supervisor) check: Option<usize>,
    pub(in crate::supervisor) event: Event,
    pub(in crate::supervisor) outcome: Outcome,
}

/// Runs the tests in the order written. Takes at most the sum of their timeouts.
pub(in crate::supervisor) async fn run(mut job: Job) -> (Vec<Finding>, Facts, Memory) {
    let mut findings = Vec::new();
    let mut facts = Facts::default();
    let definition = Arc::clone(&job.definition);
    if !matches!(
        definition.kind,
        Kind::Process(_) | Kind::Host(_) | Kind::System | Kind::Status(_)
    ) {
        let (kind, checks) = (Arc::clone(&definition), Arc::clone(&definition));
        let mut memory = std::mem::take(&mut job.memory.file);
        let looked = tokio::task::spawn_blocking(move || {
            let results = look(&kind.kind, &checks.checks, &mut memory);
            (results, memory)
        });
        match looked.await {
            Ok(((results, file, filesystem), memory)) => {
                findings.extend(results.into_iter().map(|(check, event, outcome)| Finding {
                    check,
                    event,
                    outcome,
                }));
                (facts.file, facts.filesystem) = (file, filesystem);
                job.memory.file = memory;
            }
            Err(error) => {
                let outcome = Outcome::Failed(format!(
                    "the tests of '{}' broke down: {error}",
                    definition.name
                ));
                findings.push(Finding {
                    check: None,
                    event: Event::Data,
                    outcome,
                });
            }
        }
        return (findings, facts, job.memory);
    }
    match definition.kind {
        Kind::System => {
            facts.system = Some(job.system);
            findings.push(exists("the system is there"));
        }
        Kind::Host(_) => findings.push(exists("the host is tested")),
        Kind::Status(_) => findings.push(exists("nothing is tested")),
        _ => {}
    }
    if let Some(vitals) = &job.vitals {
        let before = job.memory.parent.replace(vitals.parent);
        if let Some(before) = before.filter(|before| *before != vitals.parent) {
            let outcome = Outcome::Changed(format!(
                "process PPID changed from {before} to {}",
                vitals.parent
            ));
            findings.push(Finding {
                check: None,
                event: Event::ParentPid,
                outcome,
            });
        }
    }
    for (number, check) in definition.checks.iter().enumerate() {
        let (event, outcome) = match &check.condition {
            Condition::Resource(limits) => (
                Event::Resource,
                resources::test(limits, job.vitals.as_ref(), &job.system),
            ),
            Condition::Connection(connect) => {
                let (outcome, port) = connect::test(connect, None).await;
                facts.ports.push(port);
                (Event::Connection, outcome)
            }
            Condition::Url(connect, content) => {
                let (outcome, port) = connect::test(connect, content.as_ref()).await;
                facts.ports.push(port);
                (Event::Connection, outcome)
            }
            Condition::Ping { count, timeout } => {
                let (outcome, time) = ping_test(&definition.kind, *count, *timeout).await;
                facts.pings.push(time);
                (Event::Icmp, outcome)
            }
            _ => continue,
        };
        findings.push(Finding {
            check: Some(number),
            event,
            outcome,
        });
    }
    (findings, facts, job.memory)
}

fn exists(message: &str) -> Finding {
    Finding {
        check: None,
        event: Event::Missing,
        outcome: Outcome::Succeeded(message.to_owned()),
    }
}

async fn ping_test(kind: &Kind, count: u32, timeout: Duration) -> (Outcome, Option<Duration>) {
    let Kind::Host(host) = kind else {
        return (Outcome::NotChanged, None);
    };
    match ping::ping(host, count, timeout).await {
        Ok(time) => (
            Outcome::Succeeded(format!("{host} answers pings")),
            Some(time),
        ),
        Err(problem) => (Outcome::Failed(problem), None),
    }
}
