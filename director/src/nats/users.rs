//! nats-server's user file: who may connect, and what each may publish and subscribe to.
//!
//! A VM's agent is admitted before the VM is made, so that nothing has to be polled. Changes that come together are
//! written together: one rename and one reload, however many VMs a deployment makes at once.
//!
//! Upstream: `nats_auth_config.rb`, `users_sync.rb` of bosh-nats-sync.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bosh_protocol::AgentId;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::Error;

/// The director's certificate has this subject.
pub(super) const DIRECTOR: &str = "default.director.bosh-internal";
/// The health monitor's certificate has this subject.
pub(super) const HEALTH_MONITOR: &str = "default.hm.bosh-internal";

/// An agent that may connect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct User {
    /// The agent.
    pub agent_id: AgentId,
    /// It has been given its permanent certificate, so the one it was made with is of no use any more.
    pub permanent: bool,
}

/// Who may connect. Cheap to clone.
///
/// Where nats-server is not ours to run, upstream's bosh-nats-sync does this and every method here does nothing.
#[derive(Clone)]
pub struct Users(Option<Arc<Shared>>);

struct Shared {
    agents: Mutex<Agents>,
    changed: mpsc::Sender<()>,
    written: watch::Receiver<u64>,
}

#[derive(Default)]
struct Agents {
    permanent: BTreeMap<AgentId, bool>,
    generation: u64,
}

impl Users {
    /// For a nats-server that somebody else runs.
    pub fn external() -> Self {
        Self(None)
    }

    /// Keeps `file`; `reload` is called after each change of it and completes when nats-server has taken it.
    pub(super) fn start<F>(file: PathBuf, reload: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        // One place is enough: a change that finds it taken is covered by the write that is still to come.
        let (changed, mut changes) = mpsc::channel(1);
        let (done, written) = watch::channel(0);
        let shared = Arc::new(Shared {
            agents: Mutex::default(),
            changed,
            written,
        });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while changes.recv().await.is_some() {
                let Some(shared) = weak.upgrade() else { return };
                let (generation, config) = {
                    let agents = shared.agents();
                    (agents.generation, config_of(&agents.permanent))
                };
                drop(shared);
                match write(&file, &config) {
                    Ok(()) => reload().await,
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "message bus users"
                        );
                    }
                }
                // Also after a failure, which is logged: whoever waits would only wait for nothing.
                done.send_replace(generation);
            }
        });
        Self(Some(shared))
    }

    /// Lets an agent in, with the certificate its VM is made with and with its permanent one. Completes when
    /// nats-server knows: call it before `create_vm`.
    pub async fn admit(&self, agent_id: &AgentId) {
        self.change(|agents| agents.insert(agent_id.clone(), false) != Some(false))
            .await;
    }

    /// Shuts out the certificate the VM was made with: the agent has its permanent one.
    pub async fn made_permanent(&self, agent_id: &AgentId) {
        self.change(|agents| agents.insert(agent_id.clone(), true) != Some(true))
            .await;
    }

    /// Shuts an agent out: its VM is gone.
    pub async fn remove(&self, agent_id: &AgentId) {
        self.change(|agents| agents.remove(agent_id).is_some())
            .await;
    }

    /// Exactly these agents, as the database knows them at the start.
    pub async fn replace(&self, users: impl IntoIterator<Item = User>) {
        let users: BTreeMap<_, _> = users
            .into_iter()
            .map(|user| (user.agent_id, user.permanent))
            .collect();
        self.change(|agents| {
            *agents = users;
            true
        })
        .await;
    }

    async fn change(&self, change: impl FnOnce(&mut BTreeMap<AgentId, bool>) -> bool) {
        let Some(shared) = &self.0 else { return };
        let generation = {
            let mut agents = shared.agents();
            if change(&mut agents.permanent) {
                agents.generation += 1;
            }
            agents.generation
        };
        let mut written = shared.written.clone();
        if *written.borrow() >= generation {
            return;
        }
        // Full means that a write is still to come, and it will see this change.
        let _queued = shared.changed.try_send(());
        // Fails only when the writer is gone, with the whole director.
        let _stopped = written.wait_for(|done| *done >= generation).await;
    }
}

impl Shared {
    fn agents(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the file for the director and the health monitor alone, if there is none: nats-server does not start without.
pub(super) fn write_first(file: &Path) -> Result<(), Error> {
    if file.exists() {
        return Ok(());
    }
    write(file, &config_of(&BTreeMap::new()))
}

/// Writes the user file of a nats-server that somebody else runs; answers whether that changed it. Subjects are those
/// of the director's and the health monitor's certificates.
pub fn write_users(
    file: &Path,
    director: Option<&str>,
    monitor: Option<&str>,
    users: impl IntoIterator<Item = User>,
) -> Result<bool, Error> {
    let agents = users
        .into_iter()
        .map(|user| (user.agent_id, user.permanent))
        .collect();
    let config = config(director, monitor, &agents);
    let before = std::fs::read(file).ok();
    if before.is_some_and(|before| before == config.to_string().as_bytes()) {
        return Ok(false);
    }
    write(file, &config)?;
    Ok(true)
}

fn write(file: &Path, config: &Value) -> Result<(), Error> {
    let failed = |e| Error::Write(file.to_path_buf(), e);
    let temporary = file.with_extension("json.new");
    let write = || {
        use std::io::Write;
        let mut out = std::fs::File::create(&temporary)?;
        out.write_all(config.to_string().as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&temporary, file)
    };
    write().map_err(failed)
}

fn config_of(agents: &BTreeMap<AgentId, bool>) -> Value {
    config(
        Some(&subject(DIRECTOR)),
        Some(&subject(HEALTH_MONITOR)),
        agents,
    )
}

fn config(
    director: Option<&str>,
    monitor: Option<&str>,
    agents: &BTreeMap<AgentId, bool>,
) -> Value {
    let mut users = Vec::new();
    if let Some(director) = director {
        users.push(json!({
            "user": director,
            "permissions": {
                "publish": ["agent.*", "hm.director.alert"],
                "subscribe": ["director.>"],
            },
        }));
    }
    if let Some(monitor) = monitor {
        users.push(json!({
            "user": monitor,
            "permissions": {
                "publish": [],
                "subscribe": [
                    "hm.agent.heartbeat.*",
                    "hm.agent.alert.*",
                    "hm.agent.shutdown.*",
                    "hm.director.alert",
                ],
            },
        }));
    }
    for (agent_id, permanent) in agents {
        if !permanent {
            users.push(agent(agent_id, &format!("{agent_id}.bootstrap")));
        }
        users.push(agent(agent_id, agent_id.as_str()));
    }
    json!({"authorization": {"users": users}})
}

fn agent(agent_id: &AgentId, common_name: &str) -> Value {
    json!({
        "user": subject(&format!("{common_name}.agent.bosh-internal")),
        "permissions": {
            "publish": [
                format!("hm.agent.heartbeat.{agent_id}"),
                format!("hm.agent.alert.{agent_id}"),
                format!("hm.agent.shutdown.{agent_id}"),
                format!("director.*.{agent_id}.*"),
            ],
            "subscribe": [format!("agent.{agent_id}")],
        },
    })
}

fn subject(common_name: &str) -> String {
    format!("C=USA, O=Cloud Foundry, CN={common_name}")
}
