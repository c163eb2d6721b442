//! Talks to agents: typed calls over the message bus.
//!
//! - [`Client`] holds the connection; one subscription takes all replies
//! - [`Agent`] is one agent as one caller sees it: a method for each of the agent's methods
//! - [`Caller`] is who calls: where the SENT and RECEIVED lines go, and when to give up
//!
//! Upstream: `agent_client.rb`, `nats_rpc.rb`. Different here: `get_task` is asked after milliseconds and then ever less
//! often, up to once a second, instead of once a second; an agent that is being waited for is pinged in the same way.

mod agent;
mod bus;
mod error;

pub use agent::{Agent, Mbus, SettingsUpdate};
pub use bus::{Client, Options};
pub use error::Error;

/// Who calls an agent.
#[async_trait::async_trait]
pub trait Caller: Send + Sync {
    /// One line for the debug log.
    fn debug(&self, line: &str);

    /// Completes when the caller's task is to be cancelled, which ends waiting for an agent; never by default.
    async fn cancelled(&self) {
        std::future::pending().await
    }
}

/// Nobody: nothing is logged.
impl Caller for () {
    fn debug(&self, _line: &str) {}
}
