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
    /// The database.
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
    /// PEM of the CA that signed nats-server's certificate, for agents.
    pub nats_server_ca: String,
    /// Who may use the message bus.
    pub nats_users: nats::Users,
}

impl Director {
    /// Takes the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// One agent as a task sees it. `instance` is `group/id`, for messages.
    pub fn agent(
        &self,
        agent_id: &bosh_protocol::AgentId,
        instance: impl Into<String>,
        task: &tasks::Context,
    ) -> agents::Agent {
        self.agents
            .agent(agent_id, instance, Arc::new(task.clone()))
    }

    /// The CPIs by the latest cpi configs.
    pub async fn cpis(&self) -> Result<cpi::Cpis, cpi::Error> {
        cpi::load(&self.db, &self.cpis).await
    }
}

impl Deref for Director {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

#[async_trait::async_trait]
impl agents::Caller for tasks::Context {
    fn debug(&self, line: &str) {
        tasks::Context::debug(self, line);
    }

    async fn cancelled(&self) {
        self.cancellation().cancelled().await;
    }
}

impl bosh_cpi::Log for tasks::Context {
    fn debug(&self, line: &str) {
        tasks::Context::debug(self, line);
    }

    fn output(&self, text: &str) {
        use std::io::Write;
        if text.is_empty() {
            return;
        }
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.cpi_log())
            .and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            tracing::warn!(task = %self.id(), %error, "write the CPI's log");
        }
    }
}
