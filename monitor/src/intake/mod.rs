//! The bus, and what comes over it: connects with mutual TLS, subscribes to what agents and director say, and reads it.
//! Everything that comes is hostile until it is read: nothing here allocates more than the message has, nothing recurses.
//!
//! The subjects are upstream's: `hm.agent.{heartbeat,alert,shutdown}.<agent id>` and `hm.director.alert`.
//!
//! - [`Intake`]: connection, subscriptions, and what the connection has been through;
//! - [`Beat`]: a heartbeat;
//! - [`message`]: alerts of agents and director;
//! - [`Refusal`], [`Tally`]: what was wrong with a message, and how often.

mod beat;
mod bus;
pub mod message;
mod refusal;

pub use beat::{Beat, Timestamp};
pub use bus::{Error, Intake, Trouble, agent_id};
pub use refusal::{Kind, Refusal, Tally};
