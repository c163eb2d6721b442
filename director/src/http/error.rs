//! Why a request failed, and the only place where that becomes a reply.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bosh_director_api::{Code, ErrorReply};

use crate::{cpi, db, manifest, tasks};

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Error {
    /// One of upstream's errors: `{"code": ..., "description": ...}`.
    Coded {
        /// Upstream's number.
        code: u32,
        /// The HTTP status.
        status: u16,
        /// What went wrong, with which object.
        description: String,
    },
    /// A refusal in plain text, as some endpoints of upstream's have it.
    Plain(StatusCode, String),
    /// Nobody, or somebody else. The text is the path.
    Unauthorized(String),
    /// The director's own fault; the cause is logged, not told.
    Internal(anyhow::Error),
}

/// The result of a handler.
pub(super) type Result<T = Response> = std::result::Result<T, Error>;

impl Error {
    /// One of upstream's errors.
    pub(super) fn new(code: Code, description: impl Into<String>) -> Self {
        Self::Coded {
            code: code.number(),
            status: code.status(),
            description: description.into(),
        }
    }

    /// A plain refusal with status 400.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::Plain(StatusCode::BAD_REQUEST, text.into())
    }

    /// No endpoint takes this method, path and content type.
    pub(super) fn no_endpoint(path: &str) -> Self {
        Self::Plain(
            StatusCode::NOT_FOUND,
            format!("Endpoint '{path}' not found."),
        )
    }

    /// The text that an event keeps.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Coded { description, .. } => description.clone(),
            Self::Plain(_, text) => text.clone(),
            Self::Unauthorized(path) => format!("Not authorized: '{path}'"),
            Self::Internal(error) => format!("{error:#}"),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Coded {
                code,
                status,
                description,
            } => {
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                super::reply::json_with(status, &ErrorReply { code, description })
            }
            Self::Plain(status, text) => (
                status,
                [(header::CONTENT_TYPE, "text/html;charset=utf-8")],
                text,
            )
                .into_response(),
            Self::Unauthorized(path) => (
                StatusCode::UNAUTHORIZED,
                [
                    (header::WWW_AUTHENTICATE, "Basic realm=\"BOSH Director\""),
                    (header::CONTENT_TYPE, "text/html;charset=utf-8"),
                ],
                format!("Not authorized: '{path}'\n"),
            )
                .into_response(),
            Self::Internal(error) => {
                tracing::error!(error = format!("{error:#}"), "request failed");
                let reply = ErrorReply {
                    code: Code::SystemError.number(),
                    description: "internal error, see the director's log".to_owned(),
                };
                super::reply::json_with(StatusCode::INTERNAL_SERVER_ERROR, &reply)
            }
        }
    }
}

impl From<tasks::Error> for Error {
    fn from(error: tasks::Error) -> Self {
        match Code::from_number(error.code()) {
            None | Some(Code::Generic) => Self::Internal(error.into()),
            Some(code) => Self::new(code, error.to_string()),
        }
    }
}

impl From<manifest::Error> for Error {
    fn from(error: manifest::Error) -> Self {
        Self::Coded {
            code: error.code(),
            status: error.status(),
            description: error.to_string(),
        }
    }
}

impl From<cpi::Error> for Error {
    fn from(error: cpi::Error) -> Self {
        let status = Code::from_number(error.code()).map_or(500, Code::status);
        Self::Coded {
            code: error.code(),
            status,
            description: error.to_string(),
        }
    }
}

macro_rules! internal {
    ($($type:ty),* $(,)?) => {$(
        impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Self::Internal(error.into())
            }
        }
    )*};
}

internal!(db::Error, std::io::Error, serde_json::Error);
