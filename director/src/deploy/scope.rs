//! What every step of a deployment task is given.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bosh_blobstore::Action;
use bosh_cpi::Cpi;
use bosh_director_api::Code;
use bosh_protocol::AgentId;
use futures_util::future;
use serde_json::Value;

use super::Error;
use crate::agents::{Agent, Caller};
use crate::app::Director;
use crate::cpi::Cpis;
use crate::db::deployments::Deployment;
use crate::db::events::NewEvent;
use crate::db::vms::Vm;
use crate::db::{self, Db};
use crate::manifest::Settings;
use crate::tasks::Context;

/// How long agents may use a signed URL. Upstream: 24 hours.
const SIGNED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an agent may be silent before the cloud is asked whether its VM is still there.
const SILENCE: Duration = Duration::from_secs(1);

/// A task at work on one deployment. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    /// The director.
    pub director: Director,
    /// The task.
    pub task: Context,
    /// The deployment's row as it was when the task began.
    pub deployment: Arc<Deployment>,
    /// The CPIs there are.
    pub cpis: Cpis,
    /// What director.yml says about deployments.
    pub settings: Arc<Settings>,
    voice: Arc<Voice>,
}

impl Scope {
    /// A task of `deployment`, with the CPIs of the latest cpi configs.
    pub async fn new(
        director: &Director,
        task: &Context,
        deployment: Deployment,
    ) -> Result<Self, Error> {
        Ok(Self {
            director: director.clone(),
            task: task.clone(),
            deployment: Arc::new(deployment),
            cpis: director.cpis().await?,
            settings: Arc::new(settings(director)),
            voice: Arc::new(Voice {
                task: task.clone(),
                cancellable: true,
            }),
        })
    }

    /// The deployment of that name, for a task that needs it to be there.
    pub async fn of(director: &Director, task: &Context, deployment: &str) -> Result<Self, Error> {
        let Some(row) = db::deployments::find(&director.db, deployment).await? else {
            let message = format!("Deployment '{deployment}' doesn't exist");
            return Err(Error::new(Code::DeploymentNotFound, message));
        };
        Self::new(director, task, row).await
    }

    /// The same for work that goes on when the task is cancelled, such as tidying up.
    pub fn uncancellable(&self) -> Self {
        let voice = Arc::new(Voice {
            task: self.task.clone(),
            cancellable: false,
        });
        Self {
            voice,
            ..self.clone()
        }
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.director.db
    }

    /// The deployment's name.
    pub fn name(&self) -> &str {
        &self.deployment.name
    }

    /// The task's logs, for calls to CPIs.
    pub fn log(&self) -> &dyn bosh_cpi::Log {
        &*self.voice
    }

    /// How many things to do at once.
    pub fn max_threads(&self) -> usize {
        self.director.config.max_threads
    }

    /// The agent of `vm`; `instance` is `group/uuid`.
    pub fn agent(&self, vm: &Vm, instance: &str) -> Result<Agent, Error> {
        let Some(id) = vm.agent_id.as_deref().filter(|id| !id.is_empty()) else {
            let message = format!(
                "Instance '{}' doesn't have an agent id",
                vm.cid.as_deref().unwrap_or_default()
            );
            return Err(Error::new(Code::VmAgentIdMissing, message));
        };
        Ok(self
            .director
            .agents
            .agent(&AgentId::from(id), instance, self.voice.clone()))
    }

    /// The CPI that has `vm`.
    pub fn cpi_of(&self, vm: &Vm) -> Result<Cpi, Error> {
        self.cpi(vm.cpi.as_deref().unwrap_or_default(), api_version(vm))
    }

    /// Whether the cloud has `vm`; one that cannot say is taken to have it.
    pub async fn has_vm(&self, vm: &Vm) -> Result<bool, Error> {
        let cid = vm.cid.as_deref().unwrap_or_default();
        match self.cpi_of(vm)?.has_vm(cid, self.log()).await {
            Err(error) if error.is_not_implemented() => Ok(true),
            other => Ok(other?),
        }
    }

    /// What the agent of `vm` answers; `None` once it has been silent for [`SILENCE`] and the cloud says that it does not have
    /// that VM, for which no agent will ever answer. A cloud that cannot say leaves it to the agent's own deadline.
    pub async fn unless_gone<T>(&self, vm: &Vm, answer: impl Future<Output = T>) -> Option<T> {
        let gone = async {
            tokio::time::sleep(SILENCE).await;
            match self.has_vm(vm).await {
                Ok(false) => {}
                Ok(true) => std::future::pending().await,
                Err(error) => {
                    self.task
                        .debug(format!("has_vm of a silent agent: {error}"));
                    std::future::pending().await
                }
            }
        };
        tokio::select! {
            answer = answer => Some(answer),
            () = gone => None,
        }
    }

    /// The CPI of that name.
    pub fn cpi(&self, name: &str, stemcell_api_version: Option<u32>) -> Result<Cpi, Error> {
        Ok(self.cpis.get(name, stemcell_api_version)?)
    }

    /// Whether an agent of that age is given signed URLs instead of blob ids. Upstream: blobstore/client.rb.
    pub fn can_sign(&self, stemcell_api_version: Option<u32>) -> bool {
        self.director.blobstore.signing_enabled() && stemcell_api_version.unwrap_or(1) >= 3
    }

    /// A URL for the blob.
    pub async fn sign(&self, blob_id: &str, action: Action) -> Result<String, Error> {
        let url = self
            .director
            .blobstore
            .sign(blob_id, action, SystemTime::now(), SIGNED_FOR)
            .await?;
        Ok(url.as_str().to_owned())
    }

    /// Tells an agent what to send along with URLs that have been signed for it, where the blobstore wants anything.
    pub fn add_blobstore_headers(&self, request: &mut serde_json::Value) {
        let headers = self.director.blobstore.headers();
        if !headers.is_empty() {
            request["blobstore_headers"] = serde_json::json!(headers);
        }
    }

    /// An event about something of this deployment.
    pub fn event(&self, action: &str, object_type: &str, object_name: Option<String>) -> NewEvent {
        NewEvent {
            action: action.to_owned(),
            object_type: object_type.to_owned(),
            object_name,
            deployment: Some(self.deployment.name.clone()),
            ..NewEvent::default()
        }
    }

    /// An event about something of an instance (`group/uuid`).
    pub fn instance_event(
        &self,
        action: &str,
        object_type: &str,
        object_name: Option<String>,
        instance: &str,
    ) -> NewEvent {
        NewEvent {
            instance: Some(instance.to_owned()),
            ..self.event(action, object_type, object_name)
        }
    }

    /// Tells the health monitor of what the director does, so that it holds its alerts. Upstream: notifier.rb.
    pub async fn notify(&self, severity: u8, title: &str, summary: String) {
        let alert = serde_json::json!({
            "id": uuid::Uuid::new_v4().to_string(),
            "severity": severity,
            "source": "director",
            "title": title,
            "summary": summary,
            "created_at": time::OffsetDateTime::now_utc().unix_timestamp(),
            "deployment": self.name(),
        });
        if let Err(error) = self.director.agents.alert_health_monitor(&alert).await {
            self.task.debug(format!("health monitor not told: {error}"));
        }
    }
}

/// `stemcell_api_version` of a VM's stemcell.
pub(crate) fn api_version(vm: &Vm) -> Option<u32> {
    vm.stemcell_api_version
        .and_then(|version| u32::try_from(version).ok())
}

/// What director.yml says about deployments, and fingerprints of what agents are told.
pub(crate) fn settings(director: &Director) -> Settings {
    let config = &director.config;
    let blobstores = config.agent_env.get("blobstores").unwrap_or(&Value::Null);
    Settings {
        director_name: config.name.clone(),
        root_domain: config.root_domain.clone(),
        local_dns_enabled: config.local_dns.enabled,
        use_dns_addresses: config.local_dns.use_dns_addresses,
        default_vm_strategy: config.default_update_vm_strategy.clone(),
        remove_dev_tools: config.remove_dev_tools,
        ignore_missing_gateway: config.ignore_missing_gateway,
        director_ips: Vec::new(),
        trusted_certs_sha1: sha1(config.trusted_certs.as_bytes()),
        blobstore_config_sha1: sha1(blobstores.to_string().as_bytes()),
        managed_networks: None,
        nats_config_sha1: director.nats_ca.fingerprint(&director.nats_server_ca),
    }
}

/// SHA-1 in hexadecimal.
pub(crate) fn sha1(bytes: &[u8]) -> String {
    use sha1::Digest as _;
    sha1::Sha1::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Where calls to agents and CPIs are logged, and what ends waiting for them.
struct Voice {
    task: Context,
    cancellable: bool,
}

#[async_trait::async_trait]
impl Caller for Voice {
    fn debug(&self, line: &str) {
        self.task.debug(line);
    }

    async fn cancelled(&self) {
        if self.cancellable {
            self.task.cancellation().cancelled().await;
        } else {
            future::pending::<()>().await;
        }
    }
}

impl bosh_cpi::Log for Voice {
    fn debug(&self, line: &str) {
        self.task.debug(line);
    }

    fn output(&self, text: &str) {
        let path = self.task.cpi_log();
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
            tracing::warn!(file = %path.display(), %error, "CPI log not written");
        }
    }
}
