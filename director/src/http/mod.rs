//! The director's HTTP interface, as the CLI and the health monitor call it.
//!
//! [`router`] maps paths to handlers, one file per resource. A handler takes a
//! `Request`, which is authenticated already, asks for a `auth::Permission`,
//! and either answers from the database or enqueues a task and redirects to it.
//! `error` is the only place where errors become replies.

mod auth;
mod certificates;
mod configs;
mod deployments;
mod diff;
mod dynamic_disks;
mod errands;
mod error;
mod events;
mod info;
mod instances;
mod links;
mod memory;
mod misc;
mod networks;
mod openapi;
mod pace;
mod problems;
mod properties;
mod releases;
mod reply;
mod request;
mod router;
mod snapshots;
mod stemcells;
mod tasks;
mod typed_configs;
mod uploads;
mod users;

use request::{Media, Request};
pub use router::router;
