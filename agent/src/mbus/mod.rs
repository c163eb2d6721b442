//! The message bus: bytes in, envelope out.
//!
//! | module | what |
//! |---|---|
//! | [`bus`] | what the rest of the agent sees: publish, and know when there is a connection |
//! | [`nats`] | NATS with a client certificate |
//! | `connection` | how a connection to NATS is come by |
//! | [`https`] | HTTPS with a password, for `bosh create-env` |
//! | [`tls`] | whom to trust, who to be |
//! | [`reply`] | replies that fit |
//! | [`audit`] | who asked for what, to syslog |

pub mod audit;
pub mod bus;
mod connection;
pub mod https;
pub mod nats;
pub mod reply;
pub mod tls;

pub use bus::Bus;

use std::sync::Arc;

use bosh_protocol::Settings;

use crate::agent::Agent;

/// Serves the message bus that the settings name, for ever: another one if they come to name another.
pub async fn serve(agent: Arc<Agent>) -> Result<(), Error> {
    loop {
        let changes = agent.mbus_changes();
        match scheme(&agent.settings.get())?.as_str() {
            "nats" | "tls" => nats::serve(agent.clone(), changes).await?,
            "https" => https::serve(agent.clone(), changes).await?,
            other => return Err(Error::UnknownScheme(other.to_owned())),
        }
    }
}

fn scheme(settings: &Settings) -> Result<String, Error> {
    let url = settings
        .mbus_urls()
        .into_iter()
        .next()
        .ok_or(Error::NoUrl)?;
    let scheme = url.expose().split_once("://").map(|(scheme, _)| scheme);
    Ok(scheme.unwrap_or_default().to_owned())
}

/// Whether the message bus of these settings could be used; nobody is connected to.
pub fn check(settings: &Settings) -> Result<(), Error> {
    match scheme(settings)?.as_str() {
        "nats" | "tls" => connection::Target::new(settings).map(drop),
        "https" => https::check(settings),
        other => Err(Error::UnknownScheme(other.to_owned())),
    }
}

/// Whether the message bus of the settings is NATS.
fn is_nats(settings: &Settings) -> bool {
    scheme(settings).is_ok_and(|scheme| matches!(scheme.as_str(), "nats" | "tls"))
}

/// Errors of the message bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings do not say where it is.
    #[error("the settings have no URL of a message bus")]
    NoUrl,
    /// A URL that makes no sense. It is not shown, for it may hold a password.
    #[error("the settings have a message bus URL that is none")]
    BadUrl(#[source] std::io::Error),
    /// A scheme that no handler understands.
    #[error("Message Bus Handler with scheme {0} could not be found")]
    UnknownScheme(String),
    /// The certificate in the settings cannot be used.
    #[error("{0} of the message bus certificate")]
    Certificate(
        &'static str,
        #[source] Box<dyn std::error::Error + Send + Sync>,
    ),
    /// The connection cannot be set up at all.
    #[error("connect to NATS")]
    Connect(#[from] async_nats::ConnectError),
    /// The port cannot be opened.
    #[error("Starting HTTP listener on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The subscription was not taken.
    #[error("subscribe to {subject}")]
    Subscribe {
        /// To what.
        subject: String,
        /// Why.
        #[source]
        source: async_nats::SubscribeError,
    },
}
