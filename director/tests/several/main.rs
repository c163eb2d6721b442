//! Several processes of one director on one PostgreSQL: they share the work, and when one is killed at whatever step, the
//! others end its tasks, and nothing is lost and nothing left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../deploy/agents.rs"]
#[expect(dead_code, reason = "the tests of deploys need more of it")]
mod agents;
mod database;
#[path = "../deploy/director.rs"]
#[expect(dead_code, reason = "the tests of deploys need more of it")]
mod director;
mod kills;
#[path = "../database/postgres.rs"]
mod postgres;
mod process;
#[path = "../deploy/release.rs"]
mod release;
mod shared;

use director::Fixture;
