//! Everything that a request handler or a task needs, made once at the start.

use std::ops::Deref;
use std::sync::Arc;

use crate::{agents, config, cpi, db, nats, tasks};

/// The director. Cheap to clone.
#[derive(Clone)]
pub struct Director(Arc<Parts>);

/// What a [`Director`] is made of.
pub struct Parts {
    /// director.yml
    pub config: config::Config,
    /// The director's own id.
    pub uuid: String,
    /// What the director remembers.
    pub db: db::Db,
    /// Enqueues and cancels tasks.
    pub tasks: tasks::Handle,
    /// Where blobs are.
    pub blobstore: bosh_blobstore::Store,
    /// Talks to agents.
    pub agents: agents::Client,
    /// Makes CPI clients.
    pub cpis: cpi::Registry,
    /// Signs agents' certificates.
    pub nats_ca: nats::ClientCa,
    /// Who may use the message bus.
    pub nats_users: nats::Users,
}

impl Director {
    /// Takes the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Director {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
