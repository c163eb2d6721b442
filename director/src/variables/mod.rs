//! Variables: values the director makes up once, keeps encrypted, and puts where `((name))` is written.
//!
//! - [`definition`] reads the `variables` section;
//! - [`interpolate`] finds and fills in placeholders;
//! - [`generate`] makes passwords, keys and certificates;
//! - [`cipher`] encrypts values at rest;
//! - [`store`] is what the database has to offer, and what is done with it in a deploy.
//!
//! A variable's full name is `/<director>/<deployment>/<name>`, or the name itself if it begins with `/`.
//!
//! Upstream: config_server/ and an external config server; here the director is its own.

pub mod definition;
pub mod interpolate;
pub mod values;

pub use definition::Definition;
pub use values::Values;
