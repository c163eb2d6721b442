//! `sync_dns_with_signed_url`: takes DNS records from a URL that the director has signed.

use bosh_protocol::arguments::SyncDnsWithSignedUrl;

use super::arguments::Arguments;
use super::{Error, sync_dns};
use crate::agent::Agent;
use crate::jobs::Source;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<&'static str, Error> {
    let request: SyncDnsWithSignedUrl = arguments.get(0)?;
    let source = Source::signed(
        request.signed_url,
        request.blobstore_headers,
        request.multi_digest,
    );
    sync_dns::sync(
        agent,
        &source,
        request.version,
        "fetching new DNS records".into(),
    )
    .await
}
