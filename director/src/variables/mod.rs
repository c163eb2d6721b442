//! Variables: values the director makes up once, keeps encrypted, and puts where `((name))` is written.
//!
//! - [`definition`] reads the `variables` section;
//! - [`interpolate`] finds and fills in placeholders;
//! - [`generate`] makes passwords, keys and certificates; [`keys`] asks Ruby for RSA keys, [`certificate`] signs;
//! - [`cipher`] encrypts values at rest;
//! - [`store`] is what the database has to offer, and [`deploy`] what is done with it in a deploy.
//!
//! A variable's full name is `/<director>/<deployment>/<name>`, or the name itself if it begins with `/`.
//!
//! - [`config_server`] asks CredHub instead, when director.yml names one.
//!
//! Upstream: config_server/, which always needs an external one; here the director can be its own.

pub mod certificate;
pub mod cipher;
pub mod config_server;
pub mod crypt;
pub mod definition;
pub mod deploy;
pub mod generate;
pub mod interpolate;
pub mod keys;
pub mod store;
#[cfg(test)]
mod tests;
pub mod values;

pub use cipher::{Cipher, Entry};
pub use config_server::ConfigServer;
pub use definition::Definition;
pub use deploy::{Ensured, ensure};
pub use store::{Sealed, Store};
pub use values::{Stored, Values};
