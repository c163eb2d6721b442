//! Tasks that come by the clock: `scheduled_jobs` of director.yml (upstream:
//! scheduler.rb). One becomes a task only when there is something to do.

use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cron::Cron;
use super::{Error, NewTask, Work};
use crate::app::Director;
use crate::config::ScheduledJob;
use crate::db;

/// Enqueues what is due until `shutdown`. A job that this director does not
/// know, or a bad cron line, is logged and left out.
pub async fn schedule(director: Director, shutdown: CancellationToken) {
    let mut loops = JoinSet::new();
    for job in director.config.scheduled_jobs.clone() {
        let cron = Cron::parse(&job.schedule);
        let work = work(&job);
        match (cron, work) {
            (Ok(cron), Ok(Some(work))) => {
                let (director, shutdown) = (director.clone(), shutdown.clone());
                loops.spawn(async move { repeat(&director, &job, &cron, &work, &shutdown).await });
            }
            // It removes files of upstream's that this director has not: its metrics are in memory.
            (Ok(_), Ok(None)) if job.command == "ScheduledMetricsCleanup" => {}
            (Ok(_), Ok(None)) => {
                tracing::warn!(
                    job = job.command,
                    "scheduled job not known, it will not run"
                );
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(job = job.command, error, "scheduled job not understood");
            }
        }
    }
    while loops.join_next().await.is_some() {}
}

fn work(job: &ScheduledJob) -> Result<Option<Work>, String> {
    fn with<T: DeserializeOwned>(job: &ScheduledJob) -> Result<T, String> {
        let params = job
            .params
            .first()
            .cloned()
            .unwrap_or_else(|| Value::Object(Default::default()));
        serde_json::from_value(params).map_err(|error| format!("params: {error}"))
    }
    Ok(Some(match job.command.as_str() {
        "ScheduledTasksCleanup" => Work::CleanTasks(with(job)?),
        "ScheduledEventsCleanup" => Work::CleanEvents(with(job)?),
        "ScheduledOrphanedDiskCleanup" => Work::CleanOrphanedDisks(with(job)?),
        "ScheduledOrphanedVMCleanup" => Work::CleanOrphanedVms(with(job)?),
        "ScheduledBlobsCleanup" => Work::CleanBlobs(with(job)?),
        "ScheduledDnsBlobsCleanup" => Work::CleanDnsBlobs(with(job)?),
        "ScheduledDnsTombstoneCleanup" => Work::CleanDnsTombstones(with(job)?),
        "ScheduledOrphanedNetworkCleanup" => Work::CleanOrphanedNetworks(with(job)?),
        "SnapshotDeployments" => Work::SnapshotDeployments(with(job)?),
        "SnapshotSelf" => Work::SnapshotSelf(with(job)?),
        _ => return Ok(None),
    }))
}

async fn repeat(
    director: &Director,
    job: &ScheduledJob,
    cron: &Cron,
    work: &Work,
    shutdown: &CancellationToken,
) {
    loop {
        let now = OffsetDateTime::now_utc();
        let Some(next) = cron.next(now) else { return };
        let pause = (next - now).try_into().unwrap_or_default();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // A clock that was set back wakes us early.
        if OffsetDateTime::now_utc() < next {
            continue;
        }
        // Of several directors, one does it.
        let key = format!("{} {}", job.command, job.schedule);
        match db::misc::claim_schedule(&director.db, &key, next.unix_timestamp()).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                tracing::error!(task = work.kind(), %error, "scheduled task not enqueued");
                continue;
            }
        }
        if let Err(error) = enqueue(director, work).await {
            tracing::error!(task = work.kind(), error = %error.chain(), "scheduled task not enqueued");
        }
    }
}

async fn enqueue(director: &Director, work: &Work) -> Result<(), Error> {
    let (needed, description) = match work {
        Work::CleanTasks(job) => (job.is_needed(director).await?, "clean up tasks"),
        Work::CleanEvents(job) => (job.is_needed(director).await?, "clean up events"),
        Work::CleanOrphanedDisks(job) => (job.is_needed(director).await?, "clean up orphan disks"),
        Work::CleanOrphanedVms(job) => (
            job.is_needed(director).await?,
            "scheduled ScheduledOrphanedVMCleanup",
        ),
        Work::CleanBlobs(_) => (true, "clean up unreferenced blobs"),
        Work::CleanDnsBlobs(job) => (job.is_needed(director).await?, "clean up local dns blobs"),
        Work::CleanDnsTombstones(job) => (
            job.is_needed(director).await?,
            "clean up local dns tombstone records",
        ),
        Work::CleanOrphanedNetworks(job) => (job.is_needed(director).await?, "clean up networks"),
        Work::SnapshotDeployments(_) => (true, "scheduled SnapshotDeployments"),
        Work::SnapshotSelf(_) => (true, "scheduled SnapshotSelf"),
        _ => (true, "scheduled"),
    };
    if needed {
        let new = NewTask {
            work: work.clone(),
            username: "scheduler".to_owned(),
            deployment: None,
            description: description.to_owned(),
            context_id: String::new(),
        };
        director.tasks.enqueue(new).await?;
    }
    Ok(())
}
