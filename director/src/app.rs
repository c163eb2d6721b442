//! Everything that a request handler or a task needs, made once at the start.

use std::ops::Deref;
use std::sync::Arc;

use crate::{agents, config, cpi, db, dns, nats, tasks, template, variables};

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
    /// Seals the values of variables.
    pub secrets: variables::Cipher,
    /// Keeps the values of variables instead of the director, when there is one.
    pub config_server: Option<variables::ConfigServer>,
    /// Renders templates in Ruby processes.
    pub templates: template::Pool,
    /// DNS records for agents.
    pub dns: dns::Publisher,
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

    /// Whether an agent of a stemcell of that `api_version` is given signed URLs instead of the blobstore's password.
    pub fn can_sign_urls(&self, stemcell_api_version: Option<u32>) -> bool {
        self.blobstore.signing_enabled() && stemcell_api_version.unwrap_or(0) >= 3
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
