//! What is read over HTTP.
//!
//! | path | what | who |
//! |---|---|---|
//! | `/healthz`, `/unresponsive_agents`, ... | [`probes`]: what probes and the director's metrics server read | anybody, as upstream |
//! | `/metrics` | [`metrics`]: what Prometheus reads | anybody |
//! | `/`, `/app.js`, `/style.css` | [`page`]: the status page | the file's user |
//! | `/api/...`, `/events` | [`api`]: what the page reads, silences included; [`live`] | the file's user |
//!
//! Plain HTTP, on 127.0.0.1 unless the file says otherwise.

mod api;
mod auth;
mod live;
pub mod metrics;
mod page;
mod probes;
mod site;

pub use site::{Site, serve};
