//! Why a call to a CPI failed, in upstream's words where upstream has them.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Failure, Kind};

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program, or it may not be run.
    #[error("Failed to run cpi: '{}' is not executable", .0.display())]
    NotExecutable(PathBuf),
    /// It could not be started, or the pipe broke.
    #[error("Failed to run cpi '{}' for '{method}' CPI method", executable.display())]
    Run {
        /// The program.
        executable: PathBuf,
        /// The method.
        method: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It did not answer in time and was killed.
    #[error("Timed out after {} seconds in '{method}' CPI method (CPI request ID: '{request_id}')", after.as_secs())]
    TimedOut {
        /// The method.
        method: &'static str,
        /// The call's id in the logs.
        request_id: String,
        /// How long it had.
        after: Duration,
    },
    /// Its answer is no answer.
    #[error("Invalid CPI response - {0}")]
    InvalidResponse(String),
    /// It answered with an error of a class that the director knows.
    #[error("CPI error '{}' with message '{}' in '{method}' CPI method (CPI request ID: '{request_id}')", failure.kind, failure.message)]
    Failed {
        /// The class after upstream's compatibility rules, so not always the one in `failure`.
        kind: Kind,
        /// What the CPI said.
        failure: Failure,
        /// The method.
        method: &'static str,
        /// The call's id in the logs.
        request_id: String,
    },
    /// It answered with an error of a class that the director does not know.
    #[error("Unknown CPI error '{}' with message '{}' in '{method}' CPI method (CPI request ID: '{request_id}')", failure.kind, failure.message)]
    Unknown {
        /// What the CPI said.
        failure: Failure,
        /// The method.
        method: &'static str,
        /// The call's id in the logs.
        request_id: String,
    },
    /// The CPI speaks no version of the contract that the director accepts.
    #[error("{0}")]
    NotSupported(String),
    /// `attach_disk` answered no hint.
    #[error("No disk_hint")]
    NoDiskHint,
}

impl Error {
    /// The error class, when it is one that a director knows.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Failed { kind, .. } => Some(*kind),
            Self::NotSupported(_) => Some(Kind::NotSupported),
            Self::NoDiskHint => Some(Kind::CpiError),
            _ => None,
        }
    }

    /// The CPI has no such method: callers that can do without go on.
    pub fn is_not_implemented(&self) -> bool {
        self.kind() == Some(Kind::NotImplemented)
    }

    /// The CPI cannot do this, or not with these arguments.
    pub fn is_not_supported(&self) -> bool {
        self.kind() == Some(Kind::NotSupported)
    }

    /// The VM does not exist.
    pub fn is_vm_not_found(&self) -> bool {
        self.kind() == Some(Kind::VmNotFound)
    }

    /// The disk does not exist.
    pub fn is_disk_not_found(&self) -> bool {
        self.kind() == Some(Kind::DiskNotFound)
    }

    /// The disk is not attached.
    pub fn is_disk_not_attached(&self) -> bool {
        self.kind() == Some(Kind::DiskNotAttached)
    }

    /// Whether the CPI said that the same call may succeed when repeated.
    pub fn ok_to_retry(&self) -> bool {
        match self {
            Self::Failed { kind, failure, .. } => kind.is_retriable() && failure.ok_to_retry,
            _ => false,
        }
    }

    pub(crate) fn from_failure(failure: Failure, method: &'static str, request_id: String) -> Self {
        // CPIs made before `NotImplemented` existed say it in these two ways.
        let not_implemented = (failure.kind == "InvalidCall"
            && failure.message.starts_with("Method is not known, got"))
            || (failure.kind == Kind::CloudError.as_str()
                && failure.message.starts_with("Invalid Method:"));
        let kind = if not_implemented {
            Some(Kind::NotImplemented)
        } else {
            failure.known_kind()
        };
        match kind {
            Some(kind) => Self::Failed {
                kind,
                failure,
                method,
                request_id,
            },
            None => Self::Unknown {
                failure,
                method,
                request_id,
            },
        }
    }
}
