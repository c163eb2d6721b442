//! `sync_dns`: takes DNS records from the blobstore.

use bosh_protocol::{BlobId, MultiDigest};

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::jobs::Source;

/// A blob of DNS records may not be larger than this; 10,000 instances take a tenth. Bytes.
const MAX_RECORDS: u64 = 64 * 1024 * 1024;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<&'static str, Error> {
    let id: BlobId = arguments.get(0)?;
    let digest: MultiDigest = arguments.get(1)?;
    let version: u64 = arguments.get(2)?;
    let step = format!("getting {id} from blobstore");
    sync(agent, &Source::blob(id, digest), version, step).await
}

/// Fetches and takes the records, unless the machine has newer ones.
pub(super) async fn sync(
    agent: &Agent,
    source: &Source,
    version: u64,
    step: String,
) -> Result<&'static str, Error> {
    if !is_newer(agent, version).await {
        return Ok("synced");
    }
    let records = agent
        .tools()
        .blobs
        .fetch(source, MAX_RECORDS)
        .await
        .context(step)?;
    let _one_at_a_time = agent.dns.lock().await;
    if is_newer(agent, version).await {
        let hostname = agent.settings.get().agent_id.clone();
        agent
            .platform
            .sync_dns(&records, version, hostname.as_str())
            .await
            .context("saving DNS records")?;
    }
    Ok("synced")
}

async fn is_newer(agent: &Agent, version: u64) -> bool {
    agent
        .platform
        .dns_records_version()
        .await
        .is_none_or(|current| current < version)
}
