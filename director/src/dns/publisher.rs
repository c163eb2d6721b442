//! Stores the blob when records have changed, and has agents fetch it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bosh_blobstore::Action;
use bosh_protocol::arguments::SyncDnsWithSignedUrl;
use bosh_protocol::digest::Algorithm;
use bosh_protocol::{AgentId, MultiDigest};
use futures_util::{StreamExt, stream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::records::{Input, Records};
use crate::app::Director;
use crate::{agents, db};

/// How many agents are told at once.
const AT_ONCE: usize = 256;
/// How long an agent may use its URL.
const URL_VALIDITY: Duration = Duration::from_secs(24 * 3600);
/// How often agents that missed something are told again.
const CONVERGE_EVERY: Duration = Duration::from_secs(10);

/// Why records could not be published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("publish DNS records")]
    Database(#[from] db::Error),
    /// The blobstore.
    #[error("store DNS records")]
    Blobstore(#[from] bosh_blobstore::Error),
    /// The digest in the database.
    #[error("digest of the DNS records: '{0}'")]
    Digest(String),
}

/// A blob of records.
#[derive(Clone, Debug)]
pub struct Published {
    /// Where it is.
    pub blobstore_id: String,
    /// Its digest.
    pub digest: MultiDigest,
    /// What agents compare.
    pub version: i64,
}

/// An agent to be told.
#[derive(Clone, Debug)]
pub struct Target {
    /// The agent.
    pub agent_id: AgentId,
    /// `group/id`, for messages.
    pub instance: String,
    /// Its stemcell's api_version, which decides whether it can use signed URLs.
    pub stemcell_api_version: u32,
}

/// Keeps two publications at the same time from making two blobs of the same records.
#[derive(Default)]
pub struct Publisher(Mutex<()>);

impl Publisher {
    /// The blob of all records as they are now; a new one only if they have changed. `None` when DNS is off.
    pub async fn publish(&self, director: &Director) -> Result<Option<Published>, Error> {
        if !director.config.local_dns.enabled {
            return Ok(None);
        }
        let _one_at_a_time = self.0.lock().await;
        let db = &director.db;
        let records_version = db::dns::records_version(db).await?;
        let aliases_version = db::dns::aliases_version(db).await?;
        let latest = db::dns::latest_blob(db).await?;
        if let Some(latest) = &latest
            && i64::from(latest.records_version) >= records_version
            && latest.aliases_version >= aliases_version
            && let Some(published) = self.read(director, latest).await?
        {
            return Ok(Some(published));
        }
        let version = latest.and_then(|blob| blob.version).unwrap_or(0) + 1;
        let records = Records::new(&input(director).await?, version);
        let json = serde_json::to_vec(&records).expect("records have string keys only");
        let stored = director.blobstore.put(json, &[Algorithm::Sha256]).await?;
        let digest = stored.digest.to_string();
        let blob = db::misc::create_blob(db, stored.id.as_str(), &digest, "dns").await?;
        db::dns::create_blob(db, blob.id, records_version, aliases_version).await?;
        Ok(Some(Published {
            blobstore_id: stored.id.into_string(),
            digest: stored.digest,
            version,
        }))
    }

    async fn read(
        &self,
        director: &Director,
        latest: &db::dns::DnsBlob,
    ) -> Result<Option<Published>, Error> {
        let (Some(id), Some(version)) = (latest.blob_id, latest.version) else {
            return Ok(None);
        };
        let blobs = db::misc::blobs(&director.db, "dns").await?;
        let Some(blob) = blobs.into_iter().find(|blob| blob.id == id) else {
            return Ok(None);
        };
        let digest = blob
            .sha1
            .parse()
            .map_err(|_| Error::Digest(blob.sha1.clone()))?;
        Ok(Some(Published {
            blobstore_id: blob.blobstore_id,
            digest,
            version,
        }))
    }

    /// Publishes and tells these agents; those that do not answer are told again later.
    pub async fn publish_to(&self, director: &Director, targets: Vec<Target>) -> Result<(), Error> {
        match self.publish(director).await? {
            Some(published) => send(director, &published, targets).await,
            None => Ok(()),
        }
    }

    /// Publishes and tells all agents.
    pub async fn broadcast(&self, director: &Director) -> Result<(), Error> {
        match self.publish(director).await? {
            Some(published) => {
                let targets = everyone(director).await?;
                let targets = targets.into_iter().map(|(target, _)| target).collect();
                send(director, &published, targets).await
            }
            None => Ok(()),
        }
    }
}

/// Tells agents that missed something, every ten seconds, until `stop`.
pub async fn converge(director: Director, stop: CancellationToken) {
    if !director.config.local_dns.enabled {
        return;
    }
    let mut ticks = tokio::time::interval(CONVERGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = converge_once(&director).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "DNS records not synchronized"
            );
        }
    }
}

async fn converge_once(director: &Director) -> Result<(), Error> {
    let Some(latest) = db::dns::latest_blob(&director.db).await? else {
        return Ok(());
    };
    let Some(published) = director.dns.read(director, &latest).await? else {
        return Ok(());
    };
    let outdated: Vec<Target> = everyone(director)
        .await?
        .into_iter()
        .filter(|(_, version)| version.is_none_or(|version| version < published.version))
        .map(|(target, _)| target)
        .collect();
    if outdated.is_empty() {
        return Ok(());
    }
    send(director, &published, outdated).await
}

/// All agents with the version each has.
async fn everyone(director: &Director) -> Result<Vec<(Target, Option<i64>)>, Error> {
    let db = &director.db;
    let versions: HashMap<String, i64> = db::dns::agent_versions(db).await?.into_iter().collect();
    let names: HashMap<_, _> = db::instances::list(db)
        .await?
        .into_iter()
        .filter(|instance| !instance.compilation.unwrap_or(false))
        .map(|instance| (instance.id, instance.name()))
        .collect();
    let vms = db::vms::list(db).await?;
    let mut seen = HashSet::new();
    Ok(vms
        .into_iter()
        .filter(|vm| vm.is_active())
        .filter_map(|vm| {
            let agent_id = vm.agent_id?;
            let instance = names.get(&vm.instance_id)?.clone();
            let version = versions.get(&agent_id).copied();
            seen.insert(agent_id.clone()).then(|| {
                let target = Target {
                    agent_id: agent_id.into(),
                    instance,
                    stemcell_api_version: vm.stemcell_api_version.unwrap_or(1).unsigned_abs(),
                };
                (target, version)
            })
        })
        .collect())
}

async fn input(director: &Director) -> Result<Input, Error> {
    let db = &director.db;
    let config = &director.config;
    let instances = db::instances::list(db).await?;
    Ok(Input {
        records: db::dns::records(db).await?,
        instance_numbers: instances
            .into_iter()
            .filter_map(|instance| Some((instance.uuid?, instance.id.0)))
            .collect(),
        aliases: db::dns::aliases(db).await?,
        azs: db::dns::azs(db).await?,
        networks: db::dns::networks(db).await?,
        groups: db::dns::groups(db).await?,
        root_domain: config.root_domain.clone(),
        include_index: config.local_dns.include_index,
    })
}

async fn send(
    director: &Director,
    published: &Published,
    targets: Vec<Target>,
) -> Result<(), Error> {
    let total = targets.len();
    // Futures first, a stream of them then: a stream of closures that borrow is not `Send` enough for a task.
    let calls: Vec<_> = targets
        .into_iter()
        .map(|target| told(director, published, target))
        .collect();
    let synced: Vec<Option<String>> = stream::iter(calls)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let tx = director.db.begin().await?;
    let mut count = 0;
    for agent_id in synced.into_iter().flatten() {
        db::dns::set_agent_version(&tx, &agent_id, published.version).await?;
        count += 1;
    }
    tx.commit().await?;
    tracing::debug!(
        version = published.version,
        told = count,
        total,
        "DNS records"
    );
    Ok(())
}

/// The agent's id if it took the records.
async fn told(director: &Director, published: &Published, target: Target) -> Option<String> {
    match tell(director, published, &target).await {
        Ok(true) => Some(target.agent_id.into_string()),
        Ok(false) => {
            tracing::error!(agent = %target.agent_id, "agent did not take the DNS records");
            None
        }
        Err(error) => {
            tracing::warn!(agent = %target.agent_id, %error, "agent not told of DNS records");
            None
        }
    }
}

async fn tell(
    director: &Director,
    published: &Published,
    target: &Target,
) -> Result<bool, agents::Error> {
    let caller: Arc<dyn agents::Caller> = Arc::new(());
    let agent = director
        .agents
        .agent(&target.agent_id, &target.instance, caller);
    let version = published.version.unsigned_abs();
    if !director.can_sign_urls(Some(target.stemcell_api_version)) {
        return agent
            .sync_dns(&published.blobstore_id, &published.digest, version)
            .await;
    }
    let signed = director.blobstore.sign(
        &published.blobstore_id,
        Action::Get,
        SystemTime::now(),
        URL_VALIDITY,
    );
    let signed = signed.await.map_err(|e| agents::Error::Bus {
        operation: "sign a URL",
        source: e.into(),
    })?;
    let request = SyncDnsWithSignedUrl {
        signed_url: signed.as_str().to_string(),
        multi_digest: published.digest.clone(),
        version,
        blobstore_headers: director.blobstore.headers().clone(),
    };
    agent.sync_dns_with_signed_url(&request).await
}
