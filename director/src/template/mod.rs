//! Templates: ERB of releases, evaluated by Ruby in processes of their own.
//!
//! [`Pool`] keeps a few Ruby processes running; a request goes to one of them as a line of JSON and comes
//! back as another. Release code never runs in the director: a worker has an empty environment, no network and
//! no privileges, every request runs in a child of its own, and a worker that does not answer in time is
//! killed and replaced.
//!
//! - [`job`] reads templates out of a job's tarball;
//! - [`request`] is what is asked and what comes of it;
//! - [`pool`] and `process` run the workers; `worker.rb` is what they run;
//! - `archive` packs and fingerprints the results.
//!
//! Upstream: core/templates/, bosh-common's template/evaluation_context.rb, job_renderer.rb.

mod archive;
mod error;
pub mod job;
pub mod pool;
mod process;
pub mod request;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use pool::{Options, Pool};
pub use request::{Group, Instance, Job, Rendered, Template};
