//! A task's log files: `debug`, `event`, `result` and `cpi` in a directory of
//! its own, which the API serves while they grow.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use time::macros::format_description;

/// The files of one task.
#[derive(Debug)]
pub(super) struct Logs {
    directory: PathBuf,
    name: String,
    debug: Mutex<Option<File>>,
    event: Mutex<Option<File>>,
    result: Mutex<Option<File>>,
}

impl Logs {
    /// Opens the files of task `id` below `base`, making the directory.
    pub(super) fn open(base: &Path, id: impl std::fmt::Display) -> std::io::Result<Self> {
        let directory = directory(base, &id);
        std::fs::create_dir_all(&directory)?;
        let open = |name: &str| {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(directory.join(name))?;
            Ok::<_, std::io::Error>(Mutex::new(Some(file)))
        };
        Ok(Self {
            name: format!("task:{id}"),
            debug: open("debug")?,
            event: open("event")?,
            result: open("result")?,
            directory,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A line of the debug log, in the form of upstream's.
    pub(super) fn debug(&self, severity: &str, message: &str) {
        let now = OffsetDateTime::now_utc();
        let time = now
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]"
            ))
            .unwrap_or_default();
        let line = format!(
            "{}, [{time} #{}] [{}] {severity:>5} -- DirectorJobRunner: {message}\n",
            &severity[..1],
            std::process::id(),
            self.name
        );
        self.append(&self.debug, "debug", &line);
    }

    /// A line of the event log.
    pub(super) fn event(&self, line: &str) {
        self.append(&self.event, "event", line);
    }

    /// Text of the result.
    pub(super) fn result(&self, text: &str) {
        self.append(&self.result, "result", text);
    }

    /// Each call is one write, so lines of concurrent steps never mix. A disk
    /// that is full must not fail the task whose log this is.
    fn append(&self, file: &Mutex<Option<File>>, name: &str, text: &str) {
        let mut slot = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = slot.as_mut()
            && let Err(error) = open.write_all(text.as_bytes())
        {
            tracing::warn!(log = name, directory = %self.directory.display(), %error, "task log lost");
            *slot = None;
        }
    }
}

/// Where the logs of task `id` are.
pub(super) fn directory(base: &Path, id: impl std::fmt::Display) -> PathBuf {
    base.join("tasks").join(id.to_string())
}
