//! Everything the methods work with, put together once at the start.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bosh_blobstore::Store;
use bosh_protocol::network::Networks;
use bosh_protocol::settings::Settings;
use serde_json::Value;
use tokio::sync::watch;

use crate::compile::Compiler;
use crate::jobs::{self, Applier, Blobs, BoxError, Supervise};
use crate::mbus::Bus;
use crate::platform::{Dirs, Owner, Platform};
use crate::rpc::tasks::Tasks;
use crate::{settings, spec, supervisor, vitals};

/// The agent's parts. Shared by every request.
pub struct Agent {
    /// The machine.
    pub platform: Arc<dyn Platform>,
    /// What the infrastructure and the director say about it.
    pub settings: settings::Service,
    /// What it is to run.
    pub spec: spec::Store,
    /// What runs.
    pub supervisor: supervisor::Handle,
    /// What is being done.
    pub tasks: Tasks,
    /// The message bus.
    pub bus: Bus,
    /// The machine's numbers.
    pub vitals: vitals::Collector,
    /// One DNS update at a time.
    pub dns: tokio::sync::Mutex<()>,
    tools: RwLock<Tools>,
    owner: Owner,
    mbus_changes: watch::Sender<u64>,
}

/// What depends on the blobstore of the settings. Cheap to clone.
#[derive(Clone)]
pub struct Tools {
    /// Blobs of the machine and of the blobstore.
    pub blobs: Blobs,
    /// Installs jobs and packages.
    pub applier: Applier,
    /// Compiles packages.
    pub compiler: Compiler,
}

/// What an agent is made of.
pub struct Parts {
    /// The machine.
    pub platform: Arc<dyn Platform>,
    /// Loaded.
    pub settings: settings::Service,
    /// What it is to run.
    pub spec: spec::Store,
    /// What runs.
    pub supervisor: supervisor::Handle,
    /// Whom installed files belong to.
    pub owner: Owner,
}

impl Agent {
    /// Needs a runtime; opens the blobstore of the settings but does not speak to it.
    pub fn new(parts: Parts) -> Result<Self, bosh_blobstore::Error> {
        let Parts {
            platform,
            settings,
            spec,
            supervisor,
            owner,
        } = parts;
        let tools = Tools::new(&settings.get(), platform.clone(), supervisor.clone(), owner)?;
        Ok(Self {
            tasks: Tasks::new(platform.dirs().bosh().join("tasks.json")),
            bus: Bus::default(),
            vitals: vitals::Collector::default(),
            dns: tokio::sync::Mutex::default(),
            tools: RwLock::new(tools),
            mbus_changes: watch::Sender::new(0),
            platform,
            settings,
            spec,
            supervisor,
            owner,
        })
    }

    /// Where things are.
    pub fn dirs(&self) -> &Dirs {
        self.platform.dirs()
    }

    /// What depends on the blobstore, by the settings of now.
    pub fn tools(&self) -> Tools {
        self.tools
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the blobstore of these settings could be used.
    pub fn check_blobstore(&self, settings: &Settings) -> Result<(), bosh_blobstore::Error> {
        let blobstore = settings.blobstore();
        Store::open(
            &blobstore.provider,
            &Value::Object(blobstore.options.clone()),
        )
        .map(drop)
    }

    /// Takes up new addresses and credentials of blobstore and message bus.
    pub fn reconnect(&self) -> Result<(), bosh_blobstore::Error> {
        let tools = Tools::new(
            &self.settings.get(),
            self.platform.clone(),
            self.supervisor.clone(),
            self.owner,
        )?;
        *self.tools.write().unwrap_or_else(PoisonError::into_inner) = tools;
        self.mbus_changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Changes when the message bus is to be connected to anew.
    pub fn mbus_changes(&self) -> watch::Receiver<u64> {
        self.mbus_changes.subscribe()
    }

    /// The networks of the settings, with what DHCP gave.
    pub async fn networks(&self) -> Networks {
        let mut networks = self.settings.get().networks.clone();
        for (name, network) in &mut networks.0 {
            let single = matches!(network.prefix.as_str(), "" | "32" | "128");
            if !network.is_dhcp() || !single {
                continue;
            }
            match self.platform.resolve_network(network).await {
                Ok(Some(resolved)) => {
                    network.ip = resolved.ip.to_string();
                    network.netmask = resolved.netmask.to_string();
                    network.gateway = resolved.gateway.to_string();
                    network.resolved = true;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(
                        network = name,
                        error = &error as &dyn std::error::Error,
                        "resolve network"
                    );
                }
            }
        }
        networks
    }
}

impl Tools {
    fn new(
        settings: &Settings,
        platform: Arc<dyn Platform>,
        supervisor: supervisor::Handle,
        owner: Owner,
    ) -> Result<Self, bosh_blobstore::Error> {
        let dirs = platform.dirs().clone();
        let blobstore = settings.blobstore();
        let store = Store::open_or_run(
            &blobstore.provider,
            &Value::Object(blobstore.options.clone()),
            &dirs.etc(),
        )?;
        let blobs = Blobs::new(store, &dirs);
        let parallel = settings.env.bosh.parallel();
        let applier = Applier::new(jobs::Options {
            dirs: dirs.clone(),
            blobs: blobs.clone(),
            platform,
            supervisor: Arc::new(Supervised(supervisor)),
            owner,
            parallel,
        });
        let compiler = Compiler::new(dirs, blobs.clone(), &applier, parallel);
        Ok(Self {
            blobs,
            applier,
            compiler,
        })
    }
}

/// The supervisor as the applier sees it.
struct Supervised(supervisor::Handle);

#[async_trait]
impl Supervise for Supervised {
    async fn remove_all_jobs(&self) -> Result<(), BoxError> {
        Ok(self.0.remove_all_jobs().await?)
    }

    async fn add_job(&self, name: &str, index: usize, monit_file: &Path) -> Result<(), BoxError> {
        Ok(self.0.add_job(name, index, monit_file).await?)
    }

    async fn reload(&self) -> Result<(), BoxError> {
        Ok(self.0.reload().await?)
    }
}
