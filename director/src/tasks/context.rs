//! What a running task knows of itself, and writes.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::lock::{self, Lock};
use super::log::Logs;
use super::stage::{self, Stage};
use crate::db::{self, Db, EventId, TaskId};

/// A running task. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    task: db::tasks::Task,
    logs: Arc<Logs>,
    db: Db,
    record_events: bool,
    cancelled: CancellationToken,
}

impl Context {
    pub(super) fn new(
        task: db::tasks::Task,
        logs: Logs,
        db: Db,
        record_events: bool,
        cancelled: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            task,
            logs: Arc::new(logs),
            db,
            record_events,
            cancelled,
        }))
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.0.task.id
    }

    /// Who asked for it.
    pub fn user(&self) -> &str {
        self.0.task.username.as_deref().unwrap_or("admin")
    }

    /// For which deployment.
    pub fn deployment(&self) -> Option<&str> {
        self.0.task.deployment_name.as_deref()
    }

    /// The id that the client chose.
    pub fn context_id(&self) -> &str {
        &self.0.task.context_id
    }

    /// `Err(Cancelled)` once someone asked to cancel. Call it between steps
    /// that leave things in order.
    pub fn checkpoint(&self) -> Result<(), Error> {
        if self.0.cancelled.is_cancelled() {
            return Err(Error::Cancelled(self.id()));
        }
        Ok(())
    }

    /// Becomes ready once someone asked to cancel; for `select!`.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.0.cancelled
    }

    /// Begins a stage of the event log. `tags` name the thing it is about,
    /// `total` how many steps there will be.
    pub fn stage(&self, name: &str, tags: Vec<String>, total: Option<usize>) -> Stage {
        Stage::new(Arc::clone(&self.0.logs), name, tags, total)
    }

    /// A stage of one step of the same name.
    pub async fn single_step<T, E: std::fmt::Display>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.stage(name, Vec::new(), Some(1)).run(name, work).await
    }

    /// A warning that the CLI shows.
    pub fn warn(&self, message: &str) {
        self.debug_at("WARN", message);
        self.0.logs.event(&stage::notice_line("warning", message));
    }

    /// A deprecation that the CLI shows.
    pub fn warn_deprecated(&self, message: &str) {
        self.0
            .logs
            .event(&stage::notice_line("deprecation", message));
    }

    /// Appends a JSON value and a newline to the result that clients read.
    pub fn result_line(&self, value: &impl Serialize) -> Result<(), Error> {
        let mut text = serde_json::to_string(value)?;
        text.push('\n');
        self.0.logs.result(&text);
        Ok(())
    }

    /// Appends text to the result that clients read.
    pub fn result_text(&self, text: &str) {
        self.0.logs.result(text);
    }

    /// A line for the debug log. Never a secret.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.debug_at("DEBUG", message.as_ref());
    }

    fn debug_at(&self, severity: &str, message: &str) {
        self.0.logs.debug(severity, message);
    }

    /// The file for the CPI's log; it may not exist yet.
    pub fn cpi_log(&self) -> PathBuf {
        self.0.logs.directory().join("cpi")
    }

    /// Takes a lock (`lock:deployment:NAME`, ...), waiting at most `wait` for
    /// its holder. It is renewed until it is dropped or released; a lock that
    /// is lost cancels the task.
    pub async fn lock(&self, name: &str, wait: Duration) -> Result<Lock, Error> {
        lock::acquire(self, &self.0.db, name, wait, None).await
    }

    /// The lock that keeps two tasks off one deployment.
    pub async fn lock_deployment(&self, deployment: &str) -> Result<Lock, Error> {
        let name = format!("lock:deployment:{deployment}");
        lock::acquire(
            self,
            &self.0.db,
            &name,
            Duration::from_secs(10),
            Some(deployment),
        )
        .await
    }

    /// Records an event. What it was done by and in which task is filled in;
    /// the deployment is left as given.
    pub async fn event(&self, mut event: db::events::NewEvent) -> Result<Option<EventId>, Error> {
        if !self.0.record_events {
            return Ok(None);
        }
        if event.user.is_empty() {
            event.user = self.user().to_owned();
        }
        event.task.get_or_insert_with(|| self.id().to_string());
        Ok(Some(db::events::create(&self.0.db, event).await?))
    }

    /// Records that `work` was done to something: an event before, one after
    /// that refers to it, with the error if it failed.
    pub async fn recorded<T, E: std::fmt::Display + From<Error>>(
        &self,
        event: db::events::NewEvent,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let parent_id = self.event(event.clone()).await?;
        let result = work.await;
        let error = result.as_ref().err().map(ToString::to_string);
        self.event(db::events::NewEvent {
            parent_id,
            error,
            ..event
        })
        .await?;
        result
    }

    pub(super) fn logs(&self) -> &Logs {
        &self.0.logs
    }

    pub(super) fn cancel_self(&self) {
        self.0.cancelled.cancel();
    }
}
