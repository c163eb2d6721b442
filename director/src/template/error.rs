//! What can go wrong with templates.

/// Why templates were not rendered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Templates raised errors. The text is upstream's, lines and indentation included.
    #[error("{0}")]
    Templates(String),
    /// The tarball of a job is not one.
    #[error("cannot unpack '{job}' job blob: {reason}")]
    Unpack {
        /// The job.
        job: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Ruby could not be started.
    #[error("start template worker '{program}'")]
    Start {
        /// What was to be run.
        program: String,
        /// Why it was not.
        #[source]
        source: std::io::Error,
    },
    /// A worker did not answer in time.
    #[error("template worker did not finish within {0:?}")]
    Timeout(std::time::Duration),
    /// A worker ended, or said something that is no answer.
    #[error("template worker failed: {0}")]
    Worker(String),
}

impl Error {
    /// Whether the same request may succeed on another worker.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Worker(_))
    }
}
