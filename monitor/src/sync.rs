//! Polls the director, beside the service: a slow or dead director delays nothing but its own news.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Intervals;
use crate::director::{Director, Error};
use crate::registry::{Instance, Told};
use crate::resurrect::Rules;

/// What the director says.
#[derive(Debug)]
pub enum News {
    /// All deployments and their instances.
    Deployments(Vec<Told>),
    /// The resurrection configs.
    Resurrection(Rules),
    /// Nothing: it could not be asked.
    Unreachable(String),
}

/// How many deployments are asked for at once.
const AT_ONCE: usize = 8;

/// Asks on the given intervals, beginning now, for as long as somebody listens.
pub async fn run(director: Director, intervals: Intervals, news: mpsc::Sender<News>) {
    let mut deployments = every(intervals.poll_director);
    let mut resurrection = every(intervals.resurrection_config);
    loop {
        let told = tokio::select! {
            _ = deployments.tick() => fetch_deployments(&director).await.map(News::Deployments),
            _ = resurrection.tick() => fetch_resurrection(&director).await.map(News::Resurrection),
        };
        let told = told.unwrap_or_else(|error| News::Unreachable(chain(&error)));
        if news.send(told).await.is_err() {
            return;
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn fetch_deployments(director: &Director) -> Result<Vec<Told>, Error> {
    #[derive(Deserialize)]
    struct Deployment {
        name: String,
        #[serde(default)]
        teams: Option<Vec<String>>,
        #[serde(default)]
        locked: bool,
    }
    let path = "/deployments?exclude_configs=true&exclude_releases=true&exclude_stemcells=true";
    let deployments: Vec<Deployment> = director.get(path).await?;
    let asked = deployments.into_iter().map(|deployment| async move {
        let path = format!("/deployments/{}/instances", deployment.name);
        let instances = director.get::<Vec<Instance>>(&path).await;
        let instances = instances
            .map_err(|error| tracing::error!(deployment = deployment.name, "{}", chain(&error)))
            .ok();
        Told {
            name: deployment.name,
            teams: deployment.teams.unwrap_or_default(),
            locked: deployment.locked,
            instances,
        }
    });
    Ok(futures_util::stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await)
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
