//! The director: turns manifests into running instances.
//!
//! | module | what |
//! |---|---|
//! | [`app`] | everything a request handler or a task needs |
//! | [`config`] | director.yml |
//! | [`audit`], [`passwords`] | the audit log; how passwords are kept |
//! | [`db`] | the database, the only place that knows SQL |
//! | [`manifest`], [`links`], [`variables`], [`template`] | what a deployment is to be |
//! | [`deploy`] | from what is to what is to be |
//! | [`cpi`] | which CPIs there are |
//! | [`agents`] | calls to agents |
//! | [`nats`] | the message bus and its certificates |
//! | [`blobs`], [`listen`] | blobs for agents; HTTP on a socket |

pub mod agents;
pub mod app;
pub mod audit;
pub mod blobs;
pub mod child;
pub mod compile;
pub mod config;
pub mod cpi;
pub mod db;
pub mod deploy;
pub mod dns;
mod heap;
pub mod http;
mod leavings;
pub mod links;
pub mod listen;
pub mod manifest;
pub mod micro;
pub mod nats;
pub mod nats_sync;
pub mod passwords;
pub mod problems;
pub mod release;
pub mod serve;
mod stemcell;
pub mod tasks;
pub mod template;
pub mod variables;
