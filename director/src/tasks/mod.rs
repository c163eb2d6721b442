//! Tasks: whatever takes longer than a request.
//!
//! - [`Handle`] puts [`Work`] into the queue and cancels it
//! - [`run`] takes it out again, in this process or another
//! - [`Context`] is what the work knows of its task: checkpoints, [`Stage`]s
//!   of the event log, results, [`Lock`]s, events
//! - [`schedule`] enqueues what comes by the clock
//! - [`jobs`] has one file per kind of work
//!
//! A task is a row of `tasks`; its work waits in `delayed_jobs`, upstream's
//! queue, as JSON of our own. Its logs are files.

mod context;
mod cron;
mod error;
mod handle;
pub mod jobs;
mod leftovers;
mod lock;
mod log;
mod outputs;
mod process;
mod schedule;
mod stage;
mod undertaker;
mod work;
mod worker;

pub use context::Context;
pub use error::Error;
pub use handle::{Handle, LogKind, NewTask, Options, Task};
pub use lock::Lock;
pub use schedule::schedule;
pub use stage::{Stage, Step};
pub use work::Work;
pub use worker::run;
