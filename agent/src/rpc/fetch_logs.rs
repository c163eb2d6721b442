//! `fetch_logs`: logs in a tarball in the blobstore.

use bosh_protocol::arguments::FetchedLogs;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;
use crate::jobs::Destination;
use crate::platform::logs;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<FetchedLogs, Error> {
    let types: String = arguments.get(0)?;
    let filters: Vec<String> = arguments.get(1)?;
    fetch(agent, &types, &filters, &Destination::Store).await
}

pub(super) async fn fetch(
    agent: &Agent,
    types: &str,
    filters: &[String],
    to: &Destination,
) -> Result<FetchedLogs, Error> {
    let tarball = logs::tarball(agent.dirs(), types, filters).await.plain()?;
    let uploaded = agent.tools().blobs.upload(tarball.path(), to).await;
    let (blobstore_id, sha1) = uploaded.context("Create file on blobstore")?;
    Ok(FetchedLogs { blobstore_id, sha1 })
}
