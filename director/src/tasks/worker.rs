//! The way out: workers that take tasks from the queue and run them.
//!
//! Each process runs as many tasks at once as it has workers, and a few urgent
//! ones besides. Work that another process enqueued is found by looking once a
//! second; work of this process at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::Context;
use super::error::Error;
use super::handle::Handle;
use super::leftovers;
use super::log::Logs;
use super::outputs::Outputs;
use super::process::Process;
use super::stage;
use super::undertaker::{self, Undertaker, fail};
use super::work::Work;
use crate::app::Director;
use crate::db::{self, TaskId};
use crate::heap;

/// How often to look for work of other processes and for cancellations.
const LOOK: Duration = Duration::from_secs(1);
/// A process that cannot reach the database for this long ends its tasks, before others take it for dead.
const FENCE: Duration = Duration::from_secs(20);
/// How many urgent tasks run beside the workers'.
const URGENT: usize = 4;
/// How long running tasks have to end when the director stops.
const GRACE: Duration = Duration::from_secs(5);
/// Longest `result` of a task.
const RESULT: usize = 128;

#[derive(Deserialize)]
struct Handler {
    task: TaskId,
    work: Work,
}

/// Runs tasks until `shutdown`: `workers` at once, and urgent ones besides.
pub async fn run(director: Director, workers: usize, shutdown: CancellationToken) {
    let handle = director.tasks.clone();
    let me = Process::current();
    let name = me.name();
    let mut undertaker = Undertaker::new(handle.clone(), me);
    if let Err(error) = undertaker.round(Instant::now()).await {
        tracing::error!(error = %error.chain(), "tasks of dead processes not found");
    }
    leftovers::first(&director).await;
    let looking = leftovers::keep_looking(director.clone(), shutdown.clone());
    let _looking = AbortOnDropHandle::new(tokio::spawn(looking));
    // Work on files of this director's directory is only for those who have them.
    let both = |queue: &str| [queue.to_owned(), format!("{queue}@{}", handle.place())];
    let [urgent, normal] = [both("urgent"), both("normal")];
    let queues = [
        ([&urgent[..], &normal].concat(), workers),
        (urgent.to_vec(), URGENT),
    ];
    let mut loops = JoinSet::new();
    for (queues, permits) in queues {
        let (director, name, shutdown) = (director.clone(), name.clone(), shutdown.clone());
        loops.spawn(async move { take(&director, &name, &queues, permits, &shutdown).await });
    }
    let watcher = watch_over(handle.clone(), undertaker, shutdown.clone());
    let watcher = AbortOnDropHandle::new(tokio::spawn(watcher));
    while loops.join_next().await.is_some() {}
    // It ends with the same token.
    let _ = watcher.await;
    let left: Vec<TaskId> = handle.running().keys().copied().collect();
    for id in left {
        let why = format!("The director was stopped while task {id} was running");
        if let Err(error) = fail(&handle, id, &Error::other(why)).await {
            tracing::error!(task = %id, error = %error.chain(), "task not recorded");
        }
    }
    if let Err(error) = db::workers::forget(handle.db(), &name).await {
        tracing::warn!(%error, "not said that this process ends");
    }
}

/// Takes work from `queues` while there are permits.
async fn take(
    director: &Director,
    worker: &str,
    queues: &[String],
    permits: usize,
    shutdown: &CancellationToken,
) {
    let handle = &director.tasks;
    let mut enqueued = handle.enqueued();
    let semaphore = Arc::new(Semaphore::new(permits.max(1)));
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&semaphore).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        enqueued.mark_unchanged();
        match claim(handle, worker, queues).await {
            Ok(Some((job, id, work))) => {
                let director = director.clone();
                running.spawn(async move {
                    run_one(&director, job, id, work).await;
                    drop(permit);
                });
            }
            Ok(None) => {
                drop(permit);
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    _ = enqueued.changed() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            Err(error) => {
                tracing::error!(error = %error.chain(), "no task taken from the queue");
                drop(permit);
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    }
    let all = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        running.shutdown().await;
    }
}

async fn claim(
    handle: &Handle,
    worker: &str,
    queues: &[String],
) -> Result<Option<(i32, TaskId, Work)>, Error> {
    let db = handle.db();
    if !db::tasks::any_waiting(db, queues).await? {
        return Ok(None);
    }
    let Some(job) = db::tasks::claim(db, worker, queues).await? else {
        return Ok(None);
    };
    match serde_json::from_str::<Handler>(&job.handler) {
        Ok(handler) => Ok(Some((job.id, handler.task, handler.work))),
        Err(error) => {
            // Of another version of the director, or of upstream's.
            tracing::error!(job = job.id, %error, "job not understood");
            db::tasks::delete_job(db, job.id).await?;
            if let Some(id) = task_of(&job.handler) {
                let why = "the task is of a kind that this director does not know";
                fail(handle, id, &Error::other(why)).await?;
            }
            Ok(None)
        }
    }
}

/// Runs one task to its end, whatever that is.
async fn run_one(director: &Director, job: i32, id: TaskId, work: Work) {
    let handle = &director.tasks;
    let token = CancellationToken::new();
    handle.running().insert(id, token.clone());
    if let Err(error) = attempt(director, id, work, token).await {
        tracing::error!(task = %id, error = %error.chain(), "task not recorded");
    }
    handle.running().remove(&id);
    if let Err(error) = db::tasks::delete_job(handle.db(), job).await {
        tracing::error!(task = %id, %error, "job not deleted");
    }
    if handle.running().is_empty() {
        heap::trim();
    }
}

async fn attempt(
    director: &Director,
    id: TaskId,
    work: Work,
    token: CancellationToken,
) -> Result<(), Error> {
    let handle = &director.tasks;
    let db = handle.db();
    if !db::tasks::transition(db, id, &["queued"], "processing", None).await? {
        // Cancelled before it began.
        db::tasks::transition(db, id, &["cancelling"], "cancelled", Some("task cancelled")).await?;
        return Ok(());
    }
    db::tasks::set_started(db, id).await?;
    let task = handle.find(id).await?;
    let options = handle.options();
    let logs = Logs::open(&options.directory, id)?;
    logs.debug("INFO", &format!("Starting task: {id}"));
    let context = Context::new(task, logs, db.clone(), options.record_events, token);

    let (inner, director) = (context.clone(), director.clone());
    let ended = CancellationToken::new();
    let outputs = handle.keeps_outputs().then(|| {
        let outputs = Outputs::new(db.clone(), id, context.logs().directory());
        AbortOnDropHandle::new(tokio::spawn(outputs.follow(ended.clone())))
    });
    // Ends with this future, so that a task that was given up does nothing any more.
    let work = tokio::spawn(async move { work.run(&director, &inner).await });
    let joined = AbortOnDropHandle::new(work).await;
    let result = joined.unwrap_or_else(|error| {
        Err(
            Error::other("the task ended unexpectedly").context(if error.is_panic() {
                "internal error"
            } else {
                "interrupted"
            }),
        )
    });
    let (state, text) = match &result {
        Ok(text) => ("done", text.clone()),
        Err(error) => {
            context.logs().debug("ERROR", &error.chain());
            let (state, text, message) = if error.is_cancelled() {
                (
                    "cancelled",
                    "task cancelled".to_owned(),
                    format!("Task {id} cancelled"),
                )
            } else {
                ("error", error.to_string(), error.to_string())
            };
            context
                .logs()
                .event(&stage::error_line(error.code(), &message));
            (state, text)
        }
    };
    context
        .logs()
        .debug("INFO", &format!("Task {id} ended: {state}"));
    if let Some(outputs) = outputs {
        ended.cancel();
        // A panic in there was already reported by the runtime.
        let _ = outputs.await;
    }
    let from = ["processing", "cancelling"];
    db::tasks::transition(db, id, &from, state, Some(&shorten(&text))).await?;
    Ok(())
}

/// Passes cancellations on, says that this process lives, and ends the tasks of those that do not.
async fn watch_over(handle: Handle, mut undertaker: Undertaker, shutdown: CancellationToken) {
    let mut said = Instant::now();
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let ids: Vec<TaskId> = handle.running().keys().copied().collect();
        for id in &ids {
            match db::tasks::state(handle.db(), *id).await {
                // Cancelled, or taken for dead by another process, or forgotten.
                Ok(state) if state.as_deref() != Some("processing") => stop(&handle, *id),
                Ok(_) => {}
                Err(error) => tracing::warn!(task = %id, %error, "state not read"),
            }
        }
        if said.elapsed() < undertaker::BEAT {
            continue;
        }
        said = Instant::now();
        let alive = async {
            if !ids.is_empty() {
                db::tasks::checkpoint(handle.db(), &ids).await?;
            }
            undertaker.round(Instant::now()).await
        };
        match alive.await {
            Ok(()) => heard = Instant::now(),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "not said that this process lives");
                // Others will soon take it for dead, and what it does for theirs to do.
                if heard.elapsed() > FENCE {
                    ids.iter().for_each(|id| stop(&handle, *id));
                }
            }
        }
    }
}

fn stop(handle: &Handle, id: TaskId) {
    if let Some(token) = handle.running().get(&id) {
        token.cancel();
    }
}

pub(super) fn task_of(handler: &str) -> Option<TaskId> {
    #[derive(Deserialize)]
    struct Number {
        task: TaskId,
    }
    serde_json::from_str::<Number>(handler)
        .ok()
        .map(|number| number.task)
}

/// As upstream shortens what `bosh tasks` shows in one line.
pub(super) fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= RESULT + 1 {
        return text.to_owned();
    }
    let head: String = text.chars().take(RESULT + 1).collect();
    let end = head.rfind(char::is_whitespace).unwrap_or(head.len());
    format!("{}...", head[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_cut_between_words() {
        assert_eq!(shorten("  short "), "short");
        let long = "word ".repeat(60);
        let short = shorten(&long);
        assert!(short.ends_with("word..."), "{short}");
        assert!(short.len() <= RESULT + 3);
    }
}
