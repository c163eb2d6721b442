//! Requests to an agent and its replies. Source: upstream handler/{request,response}.go, director agent_client.rb.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::nullable;

/// The version of the envelope today's director speaks. From 3 on `stop` waits and `list_disk` is a task.
pub const PROTOCOL_VERSION: u64 = 3;

/// A reply must not be larger than this on NATS; the agent shortens or refuses what is. Bytes.
pub const MAX_REPLY: usize = 1024 * 1024;

/// One call of one method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// See [`PROTOCOL_VERSION`]; 0 when absent.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub protocol: u64,
    /// The method's name; kept as text so that an unknown one can be named in the reply.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub method: String,
    /// Positional arguments.
    #[serde(default, deserialize_with = "nullable::or_default")]
    pub arguments: Vec<Value>,
    /// The subject that waits for the reply; absent over HTTPS.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub reply_to: String,
}

impl Request {
    /// A request as the director sends it.
    pub fn new(
        method: impl Into<String>,
        arguments: Vec<Value>,
        reply_to: impl Into<String>,
    ) -> Self {
        Self {
            protocol: PROTOCOL_VERSION,
            method: method.into(),
            arguments,
            reply_to: reply_to.into(),
        }
    }
}

/// `{"value": ...}` or `{"exception": {"message": ...}}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The method's result, which may itself be a running [`crate::AgentTask`].
    Value(Value),
    /// The method failed.
    Exception(Exception),
}

impl Response {
    /// A failure with only a message.
    pub fn exception(message: impl Into<String>) -> Self {
        Self::Exception(Exception {
            message: message.into(),
            ..Exception::default()
        })
    }

    /// The value, or the exception as an error.
    pub fn into_result(self) -> Result<Value, Exception> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Exception(exception) => Err(exception),
        }
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived enum would refuse unknown keys beside the one it knows, and `{}`, which is what an upstream agent
        // sends as `{"value":null}` without the value.
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            value: Value,
            exception: Option<WireException>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum WireException {
            Object(Exception),
            Text(String),
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(match wire.exception {
            Some(WireException::Object(exception)) => Self::Exception(exception),
            Some(WireException::Text(message)) => Self::exception(message),
            None => Self::Value(wire.value),
        })
    }
}

/// Why a method failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Exception {
    /// The whole chain of causes, outermost first.
    #[serde(
        default,
        deserialize_with = "nullable::or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub message: String,
    /// A blob that holds more of the message; the reader fetches and deletes it. Only old agents send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobstore_id: Option<String>,
    /// Lines of a backtrace, from old Ruby agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<Value>,
}
