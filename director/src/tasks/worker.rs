//! The way out: workers that take tasks from the queue and run them.
//!
//! Each process runs as many tasks at once as it has workers, and a few urgent
//! ones besides. Work that another process enqueued is found by looking once a
//! second; work of this process at once. A process says that it is alive by
//! the checkpoint times of its tasks; tasks of a dead one end in `error`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::Error;
use super::handle::Handle;
use super::log::Logs;
use super::stage;
use super::work::Work;
use crate::app::Director;
use crate::db::{self, TaskId, Timestamp};

/// How often to look for work of other processes and for cancellations.
const LOOK: Duration = Duration::from_secs(1);
/// How often tasks say that they are alive.
const CHECKPOINT: Duration = Duration::from_secs(30);
/// How long a task may be silent before it counts as dead.
const SILENCE: Duration = Duration::from_secs(150);
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
    if let Err(error) = bury(&handle, &me).await {
        tracing::error!(error = %error.chain(), "tasks of dead workers not found");
    }
    let queues: [(&[&str], usize); 2] = [(&["urgent", "normal"], workers), (&["urgent"], URGENT)];
    let mut loops = JoinSet::new();
    for (queues, permits) in queues {
        let (director, name, shutdown) = (director.clone(), me.name(), shutdown.clone());
        loops.spawn(async move { take(&director, &name, queues, permits, &shutdown).await });
    }
    let watcher = tokio::spawn(watch_over(handle.clone(), me, shutdown.clone()));
    while loops.join_next().await.is_some() {}
    // It ends with the same token.
    let _ = watcher.await;
}

/// Takes work from `queues` while there are permits.
async fn take(
    director: &Director,
    worker: &str,
    queues: &'static [&'static str],
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
    queues: &[&str],
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
    let joined = tokio::spawn(async move { work.run(&director, &inner).await }).await;
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
    let from = ["processing", "cancelling"];
    db::tasks::transition(db, id, &from, state, Some(&shorten(&text))).await?;
    Ok(())
}

/// Passes cancellations on and keeps the tasks' checkpoint times fresh.
async fn watch_over(handle: Handle, me: Process, shutdown: CancellationToken) {
    let mut since_checkpoint = Duration::ZERO;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        since_checkpoint += LOOK;
        let ids: Vec<TaskId> = handle.running().keys().copied().collect();
        for id in &ids {
            match db::tasks::state(handle.db(), *id).await {
                Ok(Some(state)) if state == "cancelling" || state == "timeout" => {
                    if let Some(token) = handle.running().get(id) {
                        token.cancel();
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(task = %id, %error, "state not read"),
            }
        }
        if since_checkpoint < CHECKPOINT {
            continue;
        }
        since_checkpoint = Duration::ZERO;
        if !ids.is_empty()
            && let Err(error) = db::tasks::checkpoint(handle.db(), &ids).await
        {
            tracing::warn!(%error, "checkpoint not recorded");
        }
        if let Err(error) = bury(&handle, &me).await {
            tracing::warn!(error = %error.chain(), "tasks of dead workers not found");
        }
    }
}

/// Ends the tasks whose worker is dead: of this machine by asking the kernel,
/// of others by their silence.
async fn bury(handle: &Handle, me: &Process) -> Result<(), Error> {
    let db = handle.db();
    for (job, worker, handler) in db::tasks::held_jobs(db).await? {
        let Some(id) = task_of(&handler) else {
            continue;
        };
        if handle.running().contains_key(&id) {
            continue;
        }
        let dead = match Process::parse(&worker) {
            Some(process) if process == *me => {
                // Ended in this very moment, or never recorded as such.
                db::tasks::state(db, id).await?.as_deref() == Some("processing")
                    && db::tasks::silent_since(db, Timestamp::now() - SILENCE)
                        .await?
                        .contains(&id)
            }
            Some(process) if process.host == me.host => !process.is_alive(),
            _ => db::tasks::silent_since(db, Timestamp::now() - SILENCE)
                .await?
                .contains(&id),
        };
        if dead {
            fail(
                handle,
                id,
                &Error::other("the director stopped while the task was running"),
            )
            .await?;
            db::tasks::delete_job(db, job).await?;
        }
    }
    Ok(())
}

/// Ends a task that nothing runs any more.
async fn fail(handle: &Handle, id: TaskId, error: &Error) -> Result<(), Error> {
    let db = handle.db();
    let from = ["queued", "processing", "cancelling"];
    if db::tasks::transition(db, id, &from, "error", Some(&shorten(&error.to_string()))).await? {
        let logs = Logs::open(&handle.options().directory, id)?;
        logs.debug("ERROR", &error.chain());
        logs.event(&stage::error_line(error.code(), &error.to_string()));
    }
    db::locks::release_all(db, id).await?;
    Ok(())
}

fn task_of(handler: &str) -> Option<TaskId> {
    #[derive(Deserialize)]
    struct Number {
        task: TaskId,
    }
    serde_json::from_str::<Number>(handler)
        .ok()
        .map(|number| number.task)
}

/// As upstream shortens what `bosh tasks` shows in one line.
fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= RESULT + 1 {
        return text.to_owned();
    }
    let head: String = text.chars().take(RESULT + 1).collect();
    let end = head.rfind(char::is_whitespace).unwrap_or(head.len());
    format!("{}...", head[..end].trim_end())
}

/// A process, so that another one can tell whether it still lives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    host: String,
    pid: u32,
    /// In clock ticks since boot: a pid may come back, with another start.
    started: u64,
}

impl Process {
    fn current() -> Self {
        let host = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let pid = std::process::id();
        Self {
            host,
            pid,
            started: start_of(pid).unwrap_or(0),
        }
    }

    fn name(&self) -> String {
        format!(
            "host:{} pid:{} started:{}",
            self.host, self.pid, self.started
        )
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split(' ');
        Some(Self {
            host: parts.next()?.strip_prefix("host:")?.to_owned(),
            pid: parts.next()?.strip_prefix("pid:")?.parse().ok()?,
            started: parts.next()?.strip_prefix("started:")?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }
}

/// Field 22 of /proc/PID/stat; the name in field 2 may contain anything.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
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

    #[test]
    fn a_process_knows_itself_from_its_successor() {
        let me = Process::current();
        assert_eq!(Process::parse(&me.name()), Some(me.clone()));
        assert!(me.is_alive());
        assert!(
            !Process {
                started: me.started + 1,
                ..me
            }
            .is_alive()
        );
        assert_eq!(Process::parse("host:a pid:1 worker_3"), None);
    }
}
