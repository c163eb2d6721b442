//! Polls the director, beside the service: a slow or dead director delays nothing but its own news.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Intervals;
use crate::director::{Director, Error};
use crate::registry::{Instance, Told};
use crate::resurrect::Rules;

/// What the director says.
#[derive(Debug)]
pub enum News {
    /// All deployments and their instances.
    Deployments {
        /// When they were asked for.
        began: Instant,
        /// How long that took.
        took: Duration,
        /// What was said.
        told: Vec<Told>,
        /// The first error about a single deployment, if there was one.
        error: Option<String>,
    },
    /// Nothing about deployments: it could not be asked.
    NoDeployments {
        /// When it was asked.
        began: Instant,
        /// Why.
        error: String,
    },
    /// The resurrection configs.
    Resurrection(Rules),
    /// Nothing about resurrection.
    NoResurrection(String),
}

/// How many deployments are asked for at once.
const AT_ONCE: usize = 8;

/// Asks on the given intervals, beginning now, and for the deployments when nudged, for as long as somebody listens.
pub async fn run(
    director: Director,
    intervals: Intervals,
    nudge: Arc<Notify>,
    news: mpsc::Sender<News>,
) {
    let resurrection = async {
        let mut due = every(intervals.resurrection_config);
        loop {
            due.tick().await;
            let told = match fetch_resurrection(&director).await {
                Ok(rules) => News::Resurrection(rules),
                Err(error) => News::NoResurrection(chain(&error)),
            };
            if news.send(told).await.is_err() {
                return;
            }
        }
    };
    let deployments = async {
        let mut due = every(intervals.poll_director);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                () = nudge.notified() => {}
            }
            if news.send(deployments(&director).await).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(resurrection, deployments);
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn deployments(director: &Director) -> News {
    let began = Instant::now();
    match fetch_deployments(director).await {
        Ok((told, error)) => News::Deployments {
            began,
            took: began.elapsed(),
            told,
            error,
        },
        Err(error) => News::NoDeployments {
            began,
            error: chain(&error),
        },
    }
}

async fn fetch_deployments(director: &Director) -> Result<(Vec<Told>, Option<String>), Error> {
    #[derive(Deserialize)]
    struct Deployment {
        name: Option<String>,
        #[serde(default)]
        teams: Option<Vec<String>>,
        #[serde(default)]
        locked: Option<bool>,
    }
    let path = "/deployments?exclude_configs=true&exclude_releases=true&exclude_stemcells=true";
    let deployments: Vec<Deployment> = director.get(path).await?;
    let asked = deployments.into_iter().filter_map(|deployment| {
        let Some(name) = deployment.name else {
            tracing::error!("the director names a deployment without a name");
            return None;
        };
        Some(async move {
            let path = format!("/deployments/{name}/instances");
            let (instances, error) = match director.get::<Vec<Instance>>(&path).await {
                Ok(instances) => (Some(instances), None),
                // Deleted meanwhile: the next list does not have it.
                Err(error) if error.is_not_found() => (None, None),
                Err(error) => (None, Some(chain(&error))),
            };
            let told = Told {
                name,
                teams: deployment.teams.unwrap_or_default(),
                locked: deployment.locked.unwrap_or_default(),
                instances,
            };
            (told, error)
        })
    });
    let asked: Vec<_> = futures_util::stream::iter(asked)
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (told, errors): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    Ok((told, errors.into_iter().flatten().next()))
}

async fn fetch_resurrection(director: &Director) -> Result<Rules, Error> {
    #[derive(Deserialize)]
    struct Config {
        content: String,
    }
    let configs: Vec<Config> = director
        .get("/configs?type=resurrection&latest=true")
        .await?;
    let (rules, errors) = Rules::parse(configs.iter().map(|config| config.content.as_str()));
    for error in errors {
        tracing::error!("{error}");
    }
    Ok(rules)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
