//! What can go wrong with a blob, and whether trying again may help.

use bosh_protocol::digest;
use std::io;

/// An error of the blobstore. No variant ever carries a URL: signed URLs are secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The `provider` of the settings is none that this build can talk to.
    #[error("unsupported blobstore provider '{0}'")]
    UnknownProvider(String),
    /// The `options` of the settings do not fit the provider.
    #[error("invalid options for blobstore provider '{provider}': {reason}")]
    InvalidOptions {
        /// The provider whose options they are.
        provider: &'static str,
        /// The key and what was expected of it.
        reason: String,
    },
    /// No program of that name speaks to the provider. Upstream: bosh-utils blobstore/external_blobstore.go.
    #[error("executable {0} not found in PATH")]
    NoProgram(String),
    /// The program that speaks to the provider failed.
    #[error("{operation} blob '{id}': '{program}' failed with {status}{}", snippet(.said))]
    Program {
        /// What was being done: `getting`, `putting`, ...
        operation: &'static str,
        /// The blob.
        id: String,
        /// The program's name.
        program: String,
        /// `exit status: 1`
        status: std::process::ExitStatus,
        /// The beginning of what it printed.
        said: String,
    },
    /// An object store refused, or could not be reached.
    #[error("{operation} blob '{id}'")]
    Cloud {
        /// What was being done: `getting`, `putting`, ...
        operation: &'static str,
        /// The blob.
        id: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// This provider cannot say what it holds.
    #[error("blobstore cannot list its blobs")]
    CannotList,
    /// The provider can be read from only, or chooses ids itself.
    #[error("blobstore cannot store this: {0}")]
    ReadOnly(&'static str),
    /// An id that is empty, leads out of the store, or holds control characters.
    #[error("invalid blob id {0:?}")]
    InvalidId(String),
    /// No blob has this id.
    #[error("blob '{0}' not found")]
    NotFound(String),
    /// A blob with this id is there already; blobs never change.
    #[error("blob '{0}' already exists")]
    AlreadyExists(String),
    /// The server answered with a status that is no success.
    #[error("{operation} blob '{id}': unexpected HTTP status {status}{}", snippet(.body))]
    Status {
        /// What was being done: `getting`, `putting`, ...
        operation: &'static str,
        /// The blob, or `signed URL`.
        id: String,
        /// The HTTP status code.
        status: u16,
        /// The beginning of the reply.
        body: String,
    },
    /// The request could not be sent, or the transfer broke off.
    #[error("{operation} blob '{id}'")]
    Http {
        /// What was being done.
        operation: &'static str,
        /// The blob, or `signed URL`.
        id: String,
        /// The cause, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// A file could not be read or written.
    #[error("{operation} blob '{id}'")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The blob, or `signed URL`.
        id: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The bytes are not those that were asked for.
    #[error("checking blob '{id}'")]
    Digest {
        /// The blob, or `signed URL`.
        id: String,
        /// Both digests, or why there is none that can be computed.
        #[source]
        source: digest::Error,
    },
    /// A blob that is to be held in memory is larger than the caller allows.
    #[error("blob '{id}' is larger than the {limit} bytes allowed")]
    TooLarge {
        /// The blob, or `signed URL`.
        id: String,
        /// The most bytes the caller takes.
        limit: u64,
    },
    /// This provider cannot sign URLs, or was given no secret.
    #[error("blobstore cannot sign URLs: {0}")]
    CannotSign(&'static str),
    /// The HTTP client could not be made: a bad CA certificate, for one.
    #[error("setting up the blobstore's HTTP client: {0}")]
    Client(String),
}

impl Error {
    /// Whether the same request may succeed a moment later: a broken transfer, a busy server, bytes mangled on the way.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Http { .. }
            | Self::Digest {
                source: digest::Error::Mismatch { .. },
                ..
            } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
            _ => false,
        }
    }

    pub(crate) fn http(operation: &'static str, id: &str, source: reqwest::Error) -> Self {
        Self::Http {
            operation,
            id: id.to_owned(),
            source: source.without_url(),
        }
    }

    pub(crate) fn io(operation: &'static str, id: &str, source: io::Error) -> Self {
        Self::Io {
            operation,
            id: id.to_owned(),
            source,
        }
    }

    /// For readers, whose errors are `io::Error`. [`Error::from_io`] gets it back.
    pub fn into_io(self) -> io::Error {
        match self {
            Self::Io { source, .. } => source,
            other => io::Error::other(other),
        }
    }

    /// The error that [`Error::into_io`] wrapped, if it is one.
    pub fn from_io(error: io::Error) -> Result<Self, io::Error> {
        if error.get_ref().is_some_and(|inner| inner.is::<Self>()) {
            let inner = error
                .into_inner()
                .expect("checked above that there is an inner error");
            return Ok(*inner
                .downcast::<Self>()
                .expect("checked above that it is ours"));
        }
        Err(error)
    }
}

fn snippet(body: &str) -> String {
    let body = body.trim();
    if body.is_empty() {
        String::new()
    } else {
        format!(": {body}")
    }
}
