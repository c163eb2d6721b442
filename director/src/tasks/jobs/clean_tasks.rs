//! Forgets old tasks and their logs (upstream: api/task_remover.rb).

use serde::{Deserialize, Serialize};

use crate::app::Director;
use crate::db::{self, TaskId, Timestamp};
use crate::tasks::{Context, Error};

/// Forgets old tasks and their logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CleanTasks {}

impl CleanTasks {
    /// Whether there is anything to forget.
    pub async fn is_needed(&self, director: &Director) -> Result<bool, Error> {
        for kind in db::tasks::kinds(&director.db).await? {
            if !removable(director, &kind).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs the task.
    pub async fn run(self, director: &Director, task: &Context) -> Result<String, Error> {
        let mut result = String::from("Deleted tasks and logs of\n");
        for kind in db::tasks::kinds(&director.db).await? {
            let mut count = 0;
            for (id, output) in removable(director, &kind).await? {
                task.checkpoint()?;
                if let Some(output) = output {
                    match tokio::fs::remove_dir_all(&output).await {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            // The row stays too, so the next run tries again.
                            task.debug(format!("logs of task {id} stay: {error}"));
                            continue;
                        }
                        _ => {}
                    }
                }
                db::tasks::delete(&director.db, id).await?;
                count += 1;
            }
            result.push_str(&format!("{count} task(s) of type '{kind}'\n"));
        }
        Ok(result)
    }
}

/// What is over the number, or older than what is kept.
async fn removable(
    director: &Director,
    kind: &str,
) -> Result<Vec<(TaskId, Option<String>)>, Error> {
    let (config, db) = (&director.config, &director.db);
    let keep = i64::try_from(config.max_tasks).unwrap_or(i64::MAX);
    let mut found = db::tasks::removable(db, kind, None, keep).await?;
    let days = |days: f64| {
        let seconds = (days * 86_400.0).max(0.0);
        Timestamp::now() - std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()
    };
    if let Some(period) = config.tasks_retention_period {
        found.extend(db::tasks::ended_before(db, kind, None, days(period)).await?);
    }
    for (deployment, period) in &config.tasks_deployments_retention_period {
        found.extend(db::tasks::ended_before(db, kind, Some(deployment), days(*period)).await?);
    }
    found.sort();
    found.dedup();
    Ok(found)
}
