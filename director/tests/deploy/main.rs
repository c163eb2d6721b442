//! Deploys against a real nats-server and database, with a cloud that is a directory and agents that live in the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod changes;
#[path = "../database/any.rs"]
mod database;
mod director;
mod failures;
mod first;
mod jobs;
mod release;

use director::Fixture;
