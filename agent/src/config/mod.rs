//! How the agent is told what to do: its command line and agent.json.
//!
//! | module | what |
//! |---|---|
//! | [`flags`] | the command line |
//! | [`raw`] | agent.json as written, upstream's keys |
//! | [`resolved`] | agent.json as understood |

pub mod flags;
pub mod raw;
pub mod resolved;

pub use flags::{Flags, Invocation};
pub use resolved::{Config, Error, Metadata, Source};
