//! `update_settings`: trusted certificates, disk names, and new addresses and credentials of message bus and blobstore.
//! Upstream restarts its agent to take those up; ours, which may be the first process of a container, changes over.

use bosh_protocol::UpdateSettings;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::mbus;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<&'static str, Error> {
    let newer: UpdateSettings = arguments.get(0)?;
    agent.settings.load().await.plain()?;
    let mut candidate = (*agent.settings.get()).clone();
    let changed = candidate.update.merge(newer.clone());
    if changed {
        // An agent that saved what it cannot use would not come up again.
        mbus::check(&candidate).context("Using the new message bus")?;
        agent
            .check_blobstore(&candidate)
            .context("Using the new blobstore")?;
    }
    for association in &newer.disk_associations {
        let disk = agent
            .settings
            .persistent_disk(&association.cid)
            .context("Fetching disk settings")?;
        agent
            .platform
            .associate_disk(&association.name, &disk)
            .await
            .plain()?;
    }
    agent
        .platform
        .update_trusted_certificates(&newer.trusted_certs)
        .await
        .plain()?;
    agent.settings.save_update(candidate.update).plain()?;
    if changed {
        agent.reconnect().context("Using the new blobstore")?;
    }
    Ok("ok")
}
