//! The way in: enqueue, find, cancel.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bosh_director_api::Code;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::log::{self, Logs};
use super::process;
use super::work::Work;
use crate::db::{self, Db, TaskId};

pub use crate::db::tasks::Task;

/// How tasks are kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Logs go to `tasks/N/` below it.
    pub directory: PathBuf,
    /// Whether events are recorded.
    pub record_events: bool,
    /// The director's version, for the debug log.
    pub version: String,
}

/// A task to be.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// What to do.
    pub work: Work,
    /// Who asks for it.
    pub username: String,
    /// For which deployment.
    pub deployment: Option<String>,
    /// In words.
    pub description: String,
    /// Chosen by the client; empty if not.
    pub context_id: String,
}

/// Which of a task's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Everything.
    Debug,
    /// What the CLI shows while it runs.
    Event,
    /// What it found out.
    Result,
    /// What the CPI said.
    Cpi,
}

/// Enqueues and cancels tasks. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    db: Db,
    options: Options,
    place: String,
    wake: watch::Sender<u64>,
    running: Mutex<HashMap<TaskId, CancellationToken>>,
}

impl Handle {
    /// Tasks of this database.
    pub fn new(db: Db, options: Options) -> Self {
        let place = process::id_of(&options.directory).unwrap_or_else(|error| {
            let directory = options.directory.display();
            tracing::error!(%directory, %error, "no id for the directory: uploads are for this process only");
            uuid::Uuid::new_v4().to_string()
        });
        Self(Arc::new(Shared {
            db,
            options,
            place,
            wake: watch::Sender::new(0),
            running: Mutex::new(HashMap::new()),
        }))
    }

    /// Puts a task into the queue; a worker of any process takes it.
    pub async fn enqueue(&self, new: NewTask) -> Result<Task, Error> {
        let shared = &self.0;
        let tx = shared.db.begin().await?;
        let mut task = db::tasks::create(
            &tx,
            db::tasks::NewTask {
                kind: new.work.kind().to_owned(),
                queue: self.queue(&new.work),
                handler: serde_json::to_string(&new.work)?,
                description: new.description,
                username: new.username,
                deployment_name: new.deployment,
                context_id: new.context_id,
            },
        )
        .await?;
        let logs = Logs::open(&shared.options.directory, task.id)?;
        logs.debug(
            "INFO",
            &format!("Director Version: {}", shared.options.version),
        );
        logs.debug("INFO", &format!("Enqueuing task: {}", task.id));
        let output = logs.directory().display().to_string();
        db::tasks::set_output(&tx, task.id, &output).await?;
        tx.commit().await?;
        task.output = Some(output);
        shared.wake.send_modify(|count| *count += 1);
        Ok(task)
    }

    /// Where the work waits: what needs a file of this director's directory is for those who share it.
    fn queue(&self, work: &Work) -> String {
        if work.is_bound() {
            format!("{}@{}", work.queue(), self.0.place)
        } else {
            work.queue().to_owned()
        }
    }

    /// The task of that number.
    pub async fn find(&self, id: TaskId) -> Result<Task, Error> {
        let task = db::tasks::get(&self.0.db, id).await?;
        task.ok_or_else(|| Error::new(Code::TaskNotFound, format!("Task {id} not found")))
    }

    /// Asks a task to stop at its next checkpoint; one that waits never starts.
    pub async fn cancel(&self, id: TaskId) -> Result<(), Error> {
        let task = self.find(id).await?;
        let db = &self.0.db;
        if db::tasks::transition(db, id, &["queued"], "cancelled", Some("task cancelled")).await? {
            return Ok(());
        }
        if !db::tasks::transition(db, id, &["processing"], "cancelling", None).await? {
            return Err(Error::new(
                Code::TaskUnexpectedState,
                format!("Cannot cancel task {id}: invalid state ({})", task.state),
            ));
        }
        if let Some(token) = self.running().get(&id) {
            token.cancel();
        }
        Ok(())
    }

    /// The file of one of a task's logs; it may not exist.
    pub fn log_path(&self, task: &Task, kind: LogKind) -> PathBuf {
        let directory = match &task.output {
            Some(output) => PathBuf::from(output),
            None => log::directory(&self.0.options.directory, task.id),
        };
        directory.join(match kind {
            LogKind::Debug => "debug",
            LogKind::Event => "event",
            LogKind::Result => "result",
            LogKind::Cpi => "cpi",
        })
    }

    /// The file of one of a task's logs, if this machine has it. One that was compressed since is unpacked.
    pub async fn log_file(&self, task: &Task, kind: LogKind) -> std::io::Result<Option<PathBuf>> {
        let path = self.log_path(task, kind);
        if tokio::fs::try_exists(&path).await? {
            return Ok(Some(path));
        }
        let mut packed = path.clone().into_os_string();
        packed.push(".gz");
        let packed = PathBuf::from(packed);
        if !tokio::fs::try_exists(&packed).await? {
            return Ok(None);
        }
        tokio::task::spawn_blocking(move || {
            let temporary = path.with_extension("unpacking");
            let mut from = flate2::read::MultiGzDecoder::new(std::fs::File::open(&packed)?);
            std::io::copy(&mut from, &mut std::fs::File::create(&temporary)?)?;
            std::fs::rename(&temporary, &path)?;
            std::fs::remove_file(&packed)?;
            Ok(Some(path))
        })
        .await
        .map_err(std::io::Error::other)?
    }

    /// What the database has of a task's event log or result.
    pub async fn kept_output(&self, task: &Task, kind: LogKind) -> Result<Option<String>, Error> {
        let kept = db::tasks::outputs(&self.0.db, task.id).await?;
        let (event, result) = kept.unwrap_or_default();
        Ok(match kind {
            LogKind::Event => event,
            LogKind::Result => result,
            LogKind::Debug | LogKind::Cpi => None,
        })
    }

    pub(super) fn db(&self) -> &Db {
        &self.0.db
    }

    /// The id of the director's directory.
    pub(super) fn place(&self) -> &str {
        &self.0.place
    }

    /// Whether what tasks say is kept in the database besides, because other machines may share it.
    pub(super) fn keeps_outputs(&self) -> bool {
        self.0.db.is_shared()
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    /// Changes whenever this process enqueues something.
    pub(super) fn enqueued(&self) -> watch::Receiver<u64> {
        self.0.wake.subscribe()
    }

    /// The tasks that run in this process.
    pub(super) fn running(&self) -> MutexGuard<'_, HashMap<TaskId, CancellationToken>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
