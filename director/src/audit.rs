//! The audit log: who asked for what, and what came of it. Lines in upstream's form (upstream: audit_logger.rb,
//! api/extensions/request_logger.rb), in a file that whoever rotates it may truncate.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use time::macros::format_description;

/// The audit log, or none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Log(Option<Arc<Mutex<File>>>);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Log" } else { "no log" })
    }
}

impl Log {
    /// Opens, or begins, the file of that name in a directory, which is made if need be.
    pub fn open(directory: &Path, name: &str) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join(name))?;
        Ok(Self(Some(Arc::new(Mutex::new(file)))))
    }

    /// Whether lines are kept at all.
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Appends a line; what would break it is written as `\n` and `\r`. A disk that is full fails no request.
    pub fn write(&self, text: &str) {
        let Some(file) = &self.0 else { return };
        let now = OffsetDateTime::now_utc();
        let time = now
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]"
            ))
            .unwrap_or_default();
        let text = text.replace('\n', "\\n").replace('\r', "\\r");
        let line = format!(
            "I, [{time} #{}] [audit]  INFO -- DirectorAudit: {text}\n",
            std::process::id()
        );
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!(%error, "line of the audit log lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path(), "audit.log").unwrap();
        log.write("one\ntwo");
        Log::open(directory.path(), "audit.log")
            .unwrap()
            .write("three");
        Log::default().write("nowhere");
        let text = std::fs::read_to_string(directory.path().join("audit.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("I, [20"), "{text}");
        assert!(
            lines[0].ends_with("INFO -- DirectorAudit: one\\ntwo"),
            "{text}"
        );
    }
}
