//! monit's HTTP interface (127.0.0.1:2822), for upstream's agent, for operators' `monit` and for whatever else asks monit.
//!
//! - `http.rs`: requests in, responses out, over plain TCP; a request has 10 s and 64 KiB, a connection one request;
//! - `routes.rs`: who may do what, and what is answered;
//! - `xml.rs`, `text.rs`, `html.rs`: `/_status2?format=xml`, `/_status` and the pages for browsers.
//!
//! A web framework was rejected: the agent needs none elsewhere, and this interface is five routes.

mod access;
mod html;
mod http;
mod routes;
#[cfg(test)]
mod tests;
mod text;
mod xml;

pub use access::Access;
pub use routes::serve;

/// The version we claim to be: the one stemcells carry.
pub(in crate::supervisor) const VERSION: &str = "5.2.5";
