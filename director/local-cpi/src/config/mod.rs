//! The CPI's own configuration file: `raw` is the JSON as written, [`Config`] what was validated.

mod raw;
mod resolved;

pub use resolved::{AgentOptions, Config, DiskBackend, Error, NetworkOptions};
