//! director.yml: upstream's rendered file, plus the few keys that only this director has.
//!
//! - [`raw`] mirrors the file as upstream's `jobs/director/templates/director.yml.erb` writes it
//! - [`Config`] is what was validated; the rest of the program sees only this

pub mod raw;
mod resolved;
mod sections;
#[cfg(test)]
mod tests;

pub use resolved::{
    Blobstore, BlobstoreServer, Config, ConfigServer, Cpi, Database, Error, HealthMonitor, Limits,
    Listen, LocalDns, LocalUser, Monitor, Nats, NatsServer, ScheduledJob, SshGateway, Tls, Uaa,
    UserManagement,
};
pub(crate) use sections::percent;
