//! The message bus: certificates, who may do what, and nats-server itself as a child process.
//!
//! - [`ClientCa`] signs agents' certificates; [`pki`] makes whole sets of keys for a director that starts from nothing
//! - [`Users`] is nats-server's user file: one user per certificate, with that agent's own subjects
//! - [`Server`] runs nats-server, restarts it when it dies, has it reload its users
//!
//! Upstream: the job `nats` with its `bosh-nats-sync`, and `nats_client_cert_generator.rb`.

mod ca;
pub mod pki;
mod server;
#[cfg(test)]
mod tests;
mod tls;
mod users;

pub use ca::{ClientCa, Credentials};
pub use server::{Options, Server, end_left_over, find};
pub use tls::{client_tls, server_tls};
pub use users::{User, Users, write_users};

use std::path::PathBuf;

/// Why the message bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// A file could not be written.
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
    /// A file holds no certificate or key that can be used.
    #[error("{}: {reason}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Upstream's words for a CA whose certificate and key do not belong together.
    #[error("NATS Client certificate generation error. CA Certificate/Private Key mismatch.")]
    Mismatch,
    /// A certificate could not be made.
    #[error("make a certificate for '{0}'")]
    Certificate(String, #[source] rcgen::Error),
    /// There is no nats-server.
    #[error(
        "nats-server not found: install it (Debian, Ubuntu: apt-get install nats-server) or set nats.server.executable"
    )]
    NoServer,
    /// It would not start.
    #[error("start nats-server: {0}")]
    Start(String),
}
