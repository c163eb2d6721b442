//! `resurrector`: has the director repair what is down, unless too much is. Source: upstream's plugins/resurrector.rb.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::{Context, Plugin};
use crate::config::DirectorOptions;
use crate::director::{Director, Error};
use crate::event::{Alert, Category, Event, Status};
use crate::resurrect::{Thresholds, Tracker, Verdict};
use crate::sync::chain;

#[derive(Deserialize)]
pub(super) struct Options {
    director: DirectorOptions,
    #[serde(flatten)]
    thresholds: Thresholds,
}

pub(super) struct Resurrector {
    director: Director,
    thresholds: Thresholds,
    context: Context,
    tracker: Tracker,
}

/// Instance group -> instances.
type Jobs = BTreeMap<String, Vec<String>>;

/// The severity from which on an alert counts as an instance being down.
const CRITICAL: u64 = 2;

impl Resurrector {
    pub(super) fn new(options: Options, context: Context) -> Result<Self, Error> {
        let director = Director::new(&options.director)?;
        Ok(Self {
            director,
            thresholds: options.thresholds,
            context,
            tracker: Tracker::default(),
        })
    }

    async fn process(&mut self, alert: &Alert) -> Result<(), Error> {
        let (Some(Category::DeploymentHealth), Some(deployment), Status::Firing) =
            (alert.category, &alert.deployment, alert.status)
        else {
            return Ok(());
        };
        let now = Instant::now();
        if alert.severity == CRITICAL {
            for (job, instances) in &alert.jobs_to_instance_ids {
                instances.iter().for_each(|instance| {
                    self.tracker.record(deployment, job, instance, now);
                });
            }
        }
        let members = self.context.service.members(deployment).await;
        let state = self
            .tracker
            .state(deployment, &members, &self.thresholds, now);
        match state.verdict {
            Verdict::Normal => tracing::info!("(Resurrector) state is normal"),
            Verdict::Meltdown => {
                let skipped = names(&alert.jobs_to_instance_ids);
                let summary = format!(
                    "Skipping resurrection for instances: {skipped}; {}",
                    state.summary
                );
                self.raise(deployment, 1, "We are in meltdown", summary);
            }
            Verdict::Managed => {
                let rules = self.context.rules.borrow().clone();
                let (enabled, disabled): (Jobs, Jobs) = alert
                    .jobs_to_instance_ids
                    .clone()
                    .into_iter()
                    .partition(|(job, _)| rules.enabled(deployment, job));
                if !enabled.is_empty() {
                    // It may have waited in the queue while another monitor took over.
                    if !self.context.service.may_repair().await {
                        tracing::warn!(
                            deployment,
                            "(Resurrector) leaving it to the monitor that leads"
                        );
                        return Ok(());
                    }
                    if self.already_queued(deployment).await? {
                        tracing::info!("(Resurrector) CCK is already queued for {deployment}");
                        return Ok(());
                    }
                    let summary = format!(
                        "Notifying Director to scan instances: {}; {}",
                        names(&enabled),
                        state.summary
                    );
                    self.raise(deployment, 4, "Scan unresponsive VMs", summary);
                    let path = format!("/deployments/{deployment}/scan_and_fix");
                    self.director
                        .send(Method::PUT, &path, Some(&json!({ "jobs": enabled })))
                        .await?;
                }
                if !disabled.is_empty() {
                    let summary = format!(
                        "Skipping resurrection for instances: {}; {} because of resurrection config",
                        names(&disabled),
                        state.summary
                    );
                    self.raise(
                        deployment,
                        1,
                        "Resurrection is disabled by resurrection config",
                        summary,
                    );
                }
            }
        }
        Ok(())
    }

    async fn already_queued(&self, deployment: &str) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Task {
            description: Option<String>,
        }
        let path = format!("/tasks?deployment={deployment}&state=queued,processing&verbose=2");
        let tasks: Vec<Task> = self.director.get(&path).await?;
        Ok(tasks
            .iter()
            .any(|task| task.description.as_deref() == Some("scan and fix")))
    }

    fn raise(&self, deployment: &str, severity: u64, title: &str, summary: String) {
        let alert = Alert::new(
            severity,
            title,
            time::OffsetDateTime::now_utc().unix_timestamp(),
        );
        self.context.service.raise(Alert {
            summary,
            source: Some("HM plugin resurrector".to_owned()),
            deployment: Some(deployment.to_owned()),
            ..alert
        });
    }
}

fn names(jobs: &Jobs) -> String {
    let pairs = jobs
        .iter()
        .flat_map(|(job, instances)| instances.iter().map(move |id| format!("{job}/{id}")));
    pairs.collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Plugin for Resurrector {
    async fn run(mut self: Box<Self>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            let Event::Alert(alert) = event else { continue };
            if let Err(error) = self.process(&alert).await {
                // The next analysis finds the same instances down and raises the next alert.
                tracing::error!(
                    deployment = alert.deployment,
                    "(Resurrector) {}",
                    chain(&error)
                );
            }
        }
    }
}
