//! The director's memory, and the only place that knows SQL.
//!
//! One file per aggregate; tables and columns are upstream's
//! (bosh-director/db/migrations), so that either director can read the other's
//! database. Functions take a [`Connection`], which is the [`Db`] or a
//! transaction ([`Db::begin`]), and return plain structs:
//!
//! ```ignore
//! let tx = director.db.begin().await?;
//! let deployment = db::deployments::find_or_create(&tx, "redis").await?;
//! tx.commit().await?;
//! ```
//!
//! - [`deployments`], [`instances`], [`vms`], [`ip_addresses`], [`disks`]: what runs
//! - [`releases`], [`packages`], [`templates`], [`stemcells`]: what it is made of
//! - [`configs`], [`variables`], [`links`], [`dns`]: how it is put together
//! - [`tasks`], [`workers`], [`locks`], [`events`], [`problems`]: what happens to it
//! - [`users`], [`misc`]: local users, attributes, teams, errand runs, rendered templates, blobs
//!
//! Rejected: SeaORM entities for each of the fifty tables. Most queries here
//! are joins over several; entities would cost each build half a minute.

pub mod blobs;
pub mod configs;
mod connection;
pub mod deployments;
pub mod disks;
pub mod dns;
pub mod dynamic_disks;
pub mod events;
pub mod instances;
pub mod ip_addresses;
pub mod links;
pub mod locks;
mod migrations;
pub mod misc;
pub mod networks;
pub mod packages;
pub mod problems;
pub mod properties;
pub mod releases;
mod row;
pub mod stemcells;
pub mod tasks;
pub mod templates;
pub mod users;
pub mod variables;
mod version;
pub mod vms;
pub mod workers;

pub use connection::{Connection, Db, Error, Tx};
pub use row::*;
pub use version::Version;
