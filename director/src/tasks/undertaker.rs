//! Ends the tasks whose process is dead, and says that this one is not.
//!
//! A process of this machine is asked for at its kernel. One of another machine is dead when its counter in the
//! database has not moved for [`SILENCE`], by this process's own clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::error::Error;
use super::handle::Handle;
use super::log::Logs;
use super::process::Process;
use super::stage;
use super::worker::{shorten, task_of};
use crate::db::{self, TaskId};

/// How often a process says that it is alive, and looks who is not.
pub(super) const BEAT: Duration = Duration::from_secs(5);
/// How long a process elsewhere may be silent before it counts as dead.
const SILENCE: Duration = Duration::from_secs(30);

/// Watches the other processes.
pub(super) struct Undertaker {
    handle: Handle,
    me: Process,
    heard: HashMap<String, (i64, Instant)>,
}

impl Undertaker {
    pub(super) fn new(handle: Handle, me: Process) -> Self {
        Self {
            handle,
            me,
            heard: HashMap::new(),
        }
    }

    /// One round.
    pub(super) async fn round(&mut self, now: Instant) -> Result<(), Error> {
        let db = self.handle.db();
        db::workers::beat(db, &self.me.name(), self.handle.place()).await?;
        let workers = db::workers::list(db).await?;
        self.heard
            .retain(|name, _| workers.iter().any(|worker| worker.name == *name));
        let mut living = Vec::new();
        for worker in workers {
            if self.is_alive(&worker.name, worker.beat, now) {
                living.push(worker);
            } else {
                tracing::warn!(process = worker.name, "a process of the director is gone");
                db::workers::forget(self.handle.db(), &worker.name).await?;
            }
        }
        self.bury(&living).await
    }

    fn is_alive(&mut self, name: &str, beat: i64, now: Instant) -> bool {
        match Process::parse(name) {
            Some(process) if process == self.me => return true,
            Some(process) if process.is_near(&self.me) => return process.is_alive(),
            _ => {}
        }
        let heard = self.heard.entry(name.to_owned()).or_insert((beat, now));
        if heard.0 != beat {
            *heard = (beat, now);
        }
        now.saturating_duration_since(heard.1) < SILENCE
    }

    async fn bury(&self, living: &[db::workers::Worker]) -> Result<(), Error> {
        let (handle, db) = (&self.handle, self.handle.db());
        for (job, worker, handler) in db::tasks::held_jobs(db).await? {
            let Some(id) = task_of(&handler) else {
                continue;
            };
            if handle.running().contains_key(&id)
                || living.iter().any(|living| living.name == worker) && worker != self.me.name()
            {
                continue;
            }
            if worker == self.me.name() {
                // Taken in this very moment, or ended: nothing that takes long lies between.
                continue;
            }
            let who = Process::parse(&worker).map_or(worker, |process| {
                format!("{}, process {}", process.host, process.pid)
            });
            let why = format!("The director ({who}) died while task {id} was running");
            fail(handle, id, &Error::other(why)).await?;
            db::tasks::delete_job(db, job).await?;
        }
        // What only the processes of one directory can do, when there is none any more.
        for (job, queue, handler) in db::tasks::bound_jobs(db).await? {
            let place = queue.split_once('@').map_or("", |(_, place)| place);
            if place == handle.place() || living.iter().any(|living| living.directory == place) {
                continue;
            }
            let Some(id) = task_of(&handler) else {
                continue;
            };
            let why = format!(
                "The director that took in what task {id} needs died before the task began"
            );
            fail(handle, id, &Error::other(why)).await?;
            db::tasks::delete_job(db, job).await?;
        }
        Ok(())
    }
}

/// Ends a task that nothing runs any more.
pub(super) async fn fail(handle: &Handle, id: TaskId, error: &Error) -> Result<(), Error> {
    let db = handle.db();
    // Before it is seen to have ended: whoever waits for that may want them.
    db::locks::release_all(db, id).await?;
    let from = ["queued", "processing", "cancelling"];
    if db::tasks::transition(db, id, &from, "error", Some(&shorten(&error.to_string()))).await? {
        let line = stage::error_line(error.code(), &error.to_string());
        let logs = Logs::open(&handle.options().directory, id)?;
        logs.debug("ERROR", &error.chain());
        logs.event(&line);
        if handle.keeps_outputs() {
            db::tasks::append_outputs(db, id, &line, "").await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bosh_director_api::Code;

    use super::super::Options;
    use super::*;

    const FAR: &str = "host:far pid:7 started:1 kernel:other";

    #[tokio::test]
    async fn a_process_elsewhere_is_dead_when_its_counter_stands_still() {
        let directory = tempfile::tempdir().unwrap();
        let db = db::Db::sqlite(&directory.path().join("d.db"))
            .await
            .unwrap();
        let options = Options {
            directory: directory.path().to_owned(),
            record_events: false,
            version: "1".to_owned(),
        };
        let handle = Handle::new(db.clone(), options);
        let new = |queue: &str| db::tasks::NewTask {
            kind: "vms".to_owned(),
            handler: "{}".to_owned(),
            queue: queue.to_owned(),
            ..db::tasks::NewTask::default()
        };
        let task = db::tasks::create(&db, new("normal")).await.unwrap();
        db::tasks::claim(&db, FAR, &["normal"])
            .await
            .unwrap()
            .unwrap();
        db::tasks::transition(&db, task.id, &["queued"], "processing", None)
            .await
            .unwrap();
        let hour = Duration::from_secs(3600);
        db::locks::acquire(&db, "lock:deployment:d", "u", task.id, hour)
            .await
            .unwrap();
        let bound = db::tasks::create(&db, new("normal@there")).await.unwrap();
        db::workers::beat(&db, FAR, "there").await.unwrap();

        let mut undertaker = Undertaker::new(handle.clone(), Process::current());
        let begun = Instant::now();
        let mut at = async |seconds: u64| {
            let now = begun + Duration::from_secs(seconds);
            undertaker.round(now).await.unwrap();
            let task = handle.find(task.id).await.unwrap();
            (task.state, task.result.unwrap_or_default())
        };
        for seconds in [0, 5, 29] {
            assert_eq!(at(seconds).await.0, "processing");
        }
        db::workers::beat(&db, FAR, "there").await.unwrap();
        for seconds in [31, 60] {
            assert_eq!(at(seconds).await.0, "processing");
        }
        let why = "The director (far, process 7) died while task 1 was running";
        assert_eq!(at(61).await, ("error".to_owned(), why.to_owned()));
        assert!(db::locks::list(&db).await.unwrap().is_empty());
        assert!(db::tasks::held_jobs(&db).await.unwrap().is_empty());
        let bound = handle.find(bound.id).await.unwrap();
        assert_eq!(bound.state, "error");
        let event = std::fs::read_to_string(directory.path().join("tasks/1/event")).unwrap();
        let line: serde_json::Value = serde_json::from_str(&event).unwrap();
        assert_eq!(line["error"]["code"], Code::Generic.number());
        assert_eq!(line["error"]["message"], why);
        let living = db::workers::list(&db).await.unwrap();
        assert_eq!(living.len(), 1, "only this one: {living:?}");
    }
}
