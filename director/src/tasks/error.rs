//! Why a task failed, with the code that clients see.

use std::error::Error as StdError;

use bosh_director_api::Code;

/// Why a task failed. Displays as the message that the client and the task's
/// `result` show; the cause, if any, goes to the debug log only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone cancelled it.
    #[error("Task {0} cancelled")]
    Cancelled(crate::db::TaskId),
    /// Anything else.
    #[error("{message}")]
    Failed {
        /// Upstream's code.
        code: u32,
        /// What went wrong, with which object.
        message: String,
        /// Why.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
}

impl Error {
    /// A failure with one of upstream's codes.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::numbered(code.number(), message)
    }

    /// A failure with a code that another module already knows as a number.
    pub fn numbered(code: u32, message: impl Into<String>) -> Self {
        Self::Failed {
            code,
            message: message.into(),
            source: None,
        }
    }

    /// A failure without a code of its own.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(Code::Generic, message)
    }

    /// An error of another module, which displays as it does.
    pub fn because(code: u32, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Failed {
            code,
            message: source.to_string(),
            source: Some(Box::new(source)),
        }
    }

    /// The error's message behind `operation`, the error as its cause.
    pub fn context(self, operation: impl std::fmt::Display) -> Self {
        match self {
            Self::Failed {
                code,
                message,
                source,
            } => Self::Failed {
                code,
                message: format!("{operation}: {message}"),
                source,
            },
            cancelled => cancelled,
        }
    }

    /// The number that clients see.
    pub fn code(&self) -> u32 {
        match self {
            Self::Cancelled(_) => Code::TaskCancelled.number(),
            Self::Failed { code, .. } => *code,
        }
    }

    /// Whether it was cancelled rather than failed, be it while waiting for an agent.
    pub fn is_cancelled(&self) -> bool {
        self.code() == Code::TaskCancelled.number()
    }

    /// The message and every cause, for the debug log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

/// Errors of modules that have no codes.
macro_rules! without_code {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Self::because(Code::Generic.number(), error)
            }
        }
    )*};
}

without_code!(
    crate::db::Error,
    std::io::Error,
    serde_json::Error,
    serde_yaml_ng::Error,
    tokio::task::JoinError,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_noticed_it_a_cancelled_task_is_cancelled() {
        let noticed = crate::agents::Error::Cancelled("ping".to_owned());
        assert!(Error::because(noticed.code(), noticed).is_cancelled());
        assert!(Error::Cancelled(crate::db::TaskId(1)).is_cancelled());
        assert!(!Error::other("no").is_cancelled());
    }

    #[test]
    fn causes_are_told_once() {
        let cause = std::io::Error::other("disk full");
        let error = Error::because(100, cause).context("write");
        assert_eq!(error.to_string(), "write: disk full");
        assert_eq!(error.chain(), "write: disk full");
        assert_eq!(error.code(), 100);
    }
}
