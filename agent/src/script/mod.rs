//! Scripts that jobs bring along: lifecycle scripts, drain scripts and errands.
//!
//! | module | what |
//! |---|---|
//! | [`process`] | start, wait, and end a script with all it has started |
//! | [`lifecycle`] | pre-start, post-start, post-deploy, pre-stop and the like, of all jobs at once |
//! | [`drain`] | static and dynamic drain |
//! | [`errand`] | bin/run |
//!
//! Source: upstream agent/script.

pub mod drain;
pub mod errand;
pub mod lifecycle;
pub mod process;

/// Why a script did not do what it should. The words are upstream's: directors and people look for them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be run, or waited for.
    #[error("Starting command '{path}'")]
    Start {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A log file of its cannot be opened.
    #[error("Opening log file {}", path.display())]
    Log {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It ended badly.
    #[error("Running command '{path}': {status}")]
    Failed {
        /// Which.
        path: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// Somebody asked for its end.
    #[error("Script was cancelled by user request")]
    Cancelled,
    /// A drain script must print how long to wait.
    #[error("Script did not return a signed integer: '{0}'")]
    NotANumber(String),
    /// Some of several scripts failed.
    #[error("{}", summary(.name, .failed, .succeeded))]
    Several {
        /// The script's name, the same in each job.
        name: String,
        /// Jobs whose script failed.
        failed: Vec<String>,
        /// Jobs whose script did not.
        succeeded: Vec<String>,
    },
}

fn summary(name: &str, failed: &[String], succeeded: &[String]) -> String {
    let total = failed.len() + succeeded.len();
    let mut text = format!(
        "{} of {total} {name} scripts failed. Failed Jobs: {}",
        failed.len(),
        failed.join(", ")
    );
    if !succeeded.is_empty() {
        text.push_str(". Successful Jobs: ");
        text.push_str(&succeeded.join(", "));
    }
    text.push('.');
    text
}

/// Sums up what several jobs' scripts of one name did, and logs each failure.
fn summarize(name: &str, results: Vec<(String, Result<(), Error>)>) -> Result<(), Error> {
    let (mut failed, mut succeeded) = (Vec::new(), Vec::new());
    for (job, result) in results {
        match result {
            Ok(()) => {
                tracing::info!(job, script = name, "script has succeeded");
                succeeded.push(job);
            }
            Err(error) => {
                tracing::error!(
                    job,
                    script = name,
                    error = &error as &dyn std::error::Error,
                    "script has failed"
                );
                failed.push(job);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Error::Several {
        name: name.to_owned(),
        failed,
        succeeded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_read_as_upstreams() {
        let results = vec![
            ("a".to_owned(), Ok(())),
            ("b".to_owned(), Err(Error::Cancelled)),
            ("c".to_owned(), Ok(())),
        ];
        assert_eq!(
            summarize("pre-start", results).unwrap_err().to_string(),
            "1 of 3 pre-start scripts failed. Failed Jobs: b. Successful Jobs: a, c."
        );
        let results = vec![("b".to_owned(), Err(Error::Cancelled))];
        assert_eq!(
            summarize("drain", results).unwrap_err().to_string(),
            "1 of 1 drain scripts failed. Failed Jobs: b."
        );
    }
}

#[cfg(test)]
mod tests_support {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    /// Writes a shell script.
    pub(super) fn script(path: &Path, body: &str) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    /// Waits for a condition, at most 20 seconds.
    pub(super) async fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(
                Instant::now() < deadline,
                "the condition did not come true in time"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a file has content and returns it.
    pub(super) async fn content_of(path: &Path) -> String {
        until(|| std::fs::read_to_string(path).is_ok_and(|content| content.ends_with('\n'))).await;
        std::fs::read_to_string(path).unwrap()
    }
}
