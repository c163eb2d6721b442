//! Many simulated agents on NATS.

use crate::{Agent, Behaviour};
use anyhow::Context;
use async_nats::{Client, ConnectOptions, ServerAddr};
use bosh_protocol::settings::{CertKeyPair, UpdateSettings};
use bosh_protocol::{AgentId, Request, Settings, subject};
use bytes::Bytes;
use futures_util::StreamExt;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// How to reach NATS.
#[derive(Debug, Clone)]
pub struct Bus {
    /// `nats://127.0.0.1:4222`
    pub url: String,
    /// Without it the connection is not encrypted.
    pub cert: Option<CertKeyPair>,
}

impl Bus {
    async fn connect(&self, name: &str) -> anyhow::Result<Client> {
        let server: ServerAddr = self
            .url
            .parse()
            .with_context(|| format!("parsing the NATS URL {}", self.url))?;
        let mut options = ConnectOptions::new()
            .name(name)
            .client_capacity(65_536)
            .subscription_capacity(65_536);
        if let Some(pair) = &self.cert {
            options = options.tls_client_config(tls(pair)?).require_tls(true);
        }
        options.connect(server).await.context("connecting to NATS")
    }
}

fn tls(pair: &CertKeyPair) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pair.ca.as_bytes()) {
        roots.add(cert.context("reading the CA certificate")?)?;
    }
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .context("reading the client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.expose().as_bytes())
        .context("reading the client key")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    builder
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .context("using the client certificate")
}

/// What the agents of a fleet have done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered.
    pub requests: AtomicU64,
    /// Heartbeats published.
    pub heartbeats: AtomicU64,
}

/// Simulated agents that run until this is dropped.
#[derive(Debug)]
pub struct Fleet {
    agents: Agents,
    counters: Arc<Counters>,
    tasks: Vec<JoinHandle<()>>,
}

type Agents = Arc<Mutex<HashMap<AgentId, Agent>>>;

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Fleet {
    /// Agents that share one connection, whose certificate (if any) must be allowed to speak for all of them. With
    /// `anyone` an agent that is not there yet appears when it is first asked.
    pub async fn shared(
        bus: &Bus,
        agents: Vec<Agent>,
        anyone: Option<Behaviour>,
        heartbeat: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let client = bus.connect("bosh-agent-fake").await?;
        let mut requests = client.subscribe("agent.*").await.context("subscribing")?;
        client.flush().await.context("subscribing")?;
        let fleet = Self::of(agents);
        let (map, counters, to) = (
            Arc::clone(&fleet.agents),
            Arc::clone(&fleet.counters),
            client.clone(),
        );
        let serve = tokio::spawn(async move {
            while let Some(message) = requests.next().await {
                let id = AgentId::from(message.subject.as_str().trim_start_matches("agent."));
                let reply = {
                    let mut agents = lock(&map);
                    if let (false, Some(behaviour)) = (agents.contains_key(&id), &anyone) {
                        agents.insert(
                            id.clone(),
                            Agent::new(id.clone(), Settings::default(), behaviour.clone()),
                        );
                    }
                    agents.get_mut(&id).and_then(|agent| {
                        respond(agent, &message.payload, message.reply.as_deref())
                    })
                };
                send(&to, reply, &counters).await;
            }
        });
        let mut fleet = fleet;
        fleet.tasks.push(serve);
        if let Some(every) = heartbeat {
            let (map, counters) = (Arc::clone(&fleet.agents), Arc::clone(&fleet.counters));
            fleet
                .tasks
                .push(tokio::spawn(beat_all(client, map, counters, every)));
        }
        Ok(fleet)
    }

    /// One agent with a connection of its own for every settings file (`*.json`, as a CPI writes it for a VM) in a
    /// directory, which is watched: files that go take their agents with them.
    pub fn watching(dir: &Path, behaviour: Behaviour, heartbeat: Duration) -> Self {
        let mut fleet = Self::of(Vec::new());
        let (agents, counters, dir) = (
            Arc::clone(&fleet.agents),
            Arc::clone(&fleet.counters),
            dir.to_owned(),
        );
        fleet.tasks.push(tokio::spawn(async move {
            let mut running = HashMap::<PathBuf, Single>::new();
            loop {
                let files = settings_files(&dir);
                running.retain(|path, _| files.contains(path));
                for path in files {
                    if running.contains_key(&path) {
                        continue;
                    }
                    match read_settings(&path) {
                        Ok(settings) => {
                            let agent = Agent::new(
                                settings.agent_id.clone(),
                                settings.clone(),
                                behaviour.clone(),
                            );
                            let single =
                                Single::start(agent, settings, &agents, &counters, heartbeat);
                            running.insert(path, single);
                        }
                        // Being written, most likely: the next look will tell.
                        Err(error) => {
                            tracing::debug!(path = %path.display(), %error, "no settings yet")
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
        fleet
    }

    fn of(agents: Vec<Agent>) -> Self {
        let agents = agents
            .into_iter()
            .map(|agent| (agent.id().clone(), agent))
            .collect();
        Self {
            agents: Arc::new(Mutex::new(agents)),
            counters: Arc::default(),
            tasks: Vec::new(),
        }
    }

    /// How many agents there are.
    pub fn len(&self) -> usize {
        lock(&self.agents).len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they have done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// An agent with a connection of its own.
struct Single {
    id: AgentId,
    agents: Agents,
    task: JoinHandle<()>,
}

impl Drop for Single {
    fn drop(&mut self) {
        self.task.abort();
        lock(&self.agents).remove(&self.id);
    }
}

impl Single {
    fn start(
        agent: Agent,
        settings: Settings,
        agents: &Agents,
        counters: &Arc<Counters>,
        every: Duration,
    ) -> Self {
        let id = agent.id().clone();
        lock(agents).insert(id.clone(), agent);
        let (map, counters, me) = (Arc::clone(agents), Arc::clone(counters), id.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = serve_one(me.clone(), &settings, map, counters, every).await {
                tracing::error!(agent = %me, error = format!("{error:#}"), "a simulated agent has ended");
            }
        });
        Self {
            id,
            agents: Arc::clone(agents),
            task,
        }
    }
}

async fn serve_one(
    id: AgentId,
    settings: &Settings,
    agents: Agents,
    counters: Arc<Counters>,
    every: Duration,
) -> anyhow::Result<()> {
    let url = settings
        .mbus_urls()
        .first()
        .map(|url| url.expose().to_owned())
        .context("the settings have no mbus URL")?;
    let cert = Some(settings.mbus_cert().clone()).filter(|pair| !pair.ca.is_empty());
    let mut bus = Bus { url, cert };
    let mut client = bus.connect(id.as_str()).await?;
    let mut requests = client.subscribe(subject::requests(&id)).await?;
    let mut beats = tokio::time::interval(every);
    loop {
        tokio::select! {
            message = requests.next() => {
                let message = message.context("the connection to NATS has ended")?;
                let reply = lock(&agents).get_mut(&id).and_then(|agent| respond(agent, &message.payload, message.reply.as_deref()));
                send(&client, reply, &counters).await;
                if let Some(cert) = new_cert(&message.payload) {
                    client.flush().await?;
                    bus.cert = Some(cert);
                    client = bus.connect(id.as_str()).await?;
                    requests = client.subscribe(subject::requests(&id)).await?;
                }
            }
            _ = beats.tick() => beat(&client, &agents, &id, &counters).await,
        }
    }
}

/// The certificate that a request tells the agent to go on with: the one of the VM's first boot is not good for long.
fn new_cert(payload: &[u8]) -> Option<CertKeyPair> {
    let request: Request = serde_json::from_slice(payload).ok()?;
    let settings = request
        .arguments
        .into_iter()
        .next()
        .filter(|_| request.method == "update_settings")?;
    let settings: UpdateSettings = serde_json::from_value(settings).ok()?;
    Some(settings.mbus.cert).filter(|pair| !pair.ca.is_empty())
}

fn respond(agent: &mut Agent, payload: &[u8], reply: Option<&str>) -> Option<(String, Bytes)> {
    let request: Request = serde_json::from_slice(payload).ok()?;
    let response = agent.answer(&request, Instant::now());
    let to = if request.reply_to.is_empty() {
        reply?.to_owned()
    } else {
        request.reply_to
    };
    Some((to, serde_json::to_vec(&response).ok()?.into()))
}

async fn send(client: &Client, reply: Option<(String, Bytes)>, counters: &Counters) {
    let Some((to, payload)) = reply else { return };
    match client.publish(to, payload).await {
        Ok(()) => drop(counters.requests.fetch_add(1, Ordering::Relaxed)),
        Err(error) => tracing::warn!(%error, "cannot send a reply"),
    }
}

async fn beat(client: &Client, agents: &Agents, id: &AgentId, counters: &Counters) {
    let heartbeat = lock(agents).get(id).map(Agent::heartbeat);
    let Some(payload) = heartbeat.and_then(|heartbeat| serde_json::to_vec(&heartbeat).ok()) else {
        return;
    };
    match client.publish(subject::heartbeat(id), payload.into()).await {
        Ok(()) => drop(counters.heartbeats.fetch_add(1, Ordering::Relaxed)),
        Err(error) => tracing::warn!(%error, "cannot send a heartbeat"),
    }
}

/// Heartbeats of all agents, evenly over the time between two of one agent; as fast as NATS takes them if that is zero.
async fn beat_all(client: Client, agents: Agents, counters: Arc<Counters>, every: Duration) {
    loop {
        let round = Instant::now();
        let ids: Vec<AgentId> = lock(&agents).keys().cloned().collect();
        let count = ids.len().max(1) as u32;
        for (n, id) in (0u32..).zip(&ids) {
            let due = round + every * n / count;
            // A few at a time: timers are not finer than a millisecond.
            if let Some(early) = due.checked_duration_since(Instant::now())
                && early > Duration::from_millis(1)
            {
                tokio::time::sleep(early).await;
            }
            beat(&client, &agents, id, &counters).await;
        }
        let rest = every.saturating_sub(round.elapsed());
        tokio::time::sleep(if ids.is_empty() {
            rest.max(Duration::from_millis(10))
        } else {
            rest
        })
        .await;
    }
}

fn settings_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect()
}

fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let settings: Settings = serde_json::from_slice(&std::fs::read(path)?)?;
    anyhow::ensure!(!settings.agent_id.is_empty(), "agent_id is missing");
    Ok(settings)
}

fn lock(agents: &Agents) -> MutexGuard<'_, HashMap<AgentId, Agent>> {
    agents.lock().unwrap_or_else(PoisonError::into_inner)
}
