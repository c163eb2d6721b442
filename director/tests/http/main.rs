//! The HTTP interface against a real database: what the CLI sends, and what it
//! reads back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod bodies;
mod configs;
#[path = "../database/any.rs"]
mod database;
mod deployments;
mod disks;
mod links;
mod properties;
mod releases;
mod schema;
mod server;
mod stemcells;
mod support;
mod tasks;
mod users;
