//! The event log: what the CLI shows while a task runs, one JSON object a line
//! (upstream: bosh-director/lib/bosh/director/event_log.rb).

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::log::Logs;

#[derive(Serialize)]
struct Line<'a> {
    time: i64,
    stage: &'a str,
    tags: &'a [String],
    total: Option<usize>,
    task: &'a str,
    index: u32,
    state: &'a str,
    progress: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Json>,
}

/// A group of steps with one name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    logs: Arc<Logs>,
    name: String,
    tags: Vec<String>,
    total: Option<usize>,
    index: AtomicU32,
}

/// One step under way. Dropping it unfinished records a failure.
#[derive(Debug)]
pub struct Step {
    stage: Stage,
    name: String,
    index: u32,
    progress: u8,
    ended: bool,
}

impl Stage {
    pub(super) fn new(
        logs: Arc<Logs>,
        name: &str,
        tags: Vec<String>,
        total: Option<usize>,
    ) -> Self {
        logs.debug("INFO", name);
        Self(Arc::new(Inner {
            logs,
            name: name.to_owned(),
            tags,
            total,
            index: AtomicU32::new(0),
        }))
    }

    /// Runs a step: logs its start, and that it finished or why it failed.
    /// Steps of one stage may run at the same time.
    pub async fn run<T, E: std::fmt::Display>(
        &self,
        name: impl Into<String>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let step = self.start(name);
        let result = work.await;
        match &result {
            Ok(_) => step.finish(),
            Err(error) => step.fail(&error.to_string()),
        }
        result
    }

    /// Starts a step that the caller ends.
    pub fn start(&self, name: impl Into<String>) -> Step {
        let index = self.0.index.fetch_add(1, Ordering::Relaxed) + 1;
        let step = Step {
            stage: self.clone(),
            name: name.into(),
            index,
            progress: 0,
            ended: false,
        };
        self.0.logs.debug("INFO", &step.name);
        step.write("started", None);
        step
    }
}

impl Step {
    /// Adds to the progress, which ends at 100, and says what comes now; the CLI shows it.
    pub fn advance(&mut self, percent: u8, status: &str) {
        self.progress = self.progress.saturating_add(percent).min(100);
        self.write("in_progress", Some(json!({ "status": status })));
    }

    /// Ends the step well.
    pub fn finish(mut self) {
        self.end("finished", None);
    }

    /// Ends the step with an error.
    pub fn fail(mut self, error: &str) {
        self.end("failed", Some(json!({ "error": error })));
    }

    fn end(&mut self, state: &str, data: Option<Json>) {
        self.ended = true;
        self.progress = 100;
        self.write(state, data);
    }

    fn write(&self, state: &str, data: Option<Json>) {
        let inner = &self.stage.0;
        let line = Line {
            time: OffsetDateTime::now_utc().unix_timestamp(),
            stage: &inner.name,
            tags: &inner.tags,
            total: inner.total,
            task: &self.name,
            index: self.index,
            state,
            progress: self.progress,
            data,
        };
        match serde_json::to_string(&line) {
            Ok(mut text) => {
                text.push('\n');
                inner.logs.event(&text);
            }
            Err(error) => tracing::error!(%error, "event line not written"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end("failed", Some(json!({ "error": "interrupted" })));
        }
    }
}

/// The line that tells the CLI why the task failed.
pub(super) fn error_line(code: u32, message: &str) -> String {
    let time = OffsetDateTime::now_utc().unix_timestamp();
    format!(
        "{}\n",
        json!({ "time": time, "error": { "code": code, "message": message } })
    )
}

/// A line outside any stage: `deprecation` or `warning`.
pub(super) fn notice_line(kind: &str, message: &str) -> String {
    let time = OffsetDateTime::now_utc().unix_timestamp();
    format!(
        "{}\n",
        json!({ "time": time, "type": kind, "message": message })
    )
}
