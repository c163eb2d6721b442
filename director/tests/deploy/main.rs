//! Deploys against a real nats-server and database, with a cloud that is a directory and agents that live in the test.

mod agents;
mod changes;
mod director;
mod failures;
mod first;
mod release;

use director::Fixture;
