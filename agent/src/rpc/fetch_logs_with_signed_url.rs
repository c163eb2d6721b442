//! `fetch_logs_with_signed_url`: logs in a tarball at a URL that the director has signed.

use bosh_protocol::Secret;
use bosh_protocol::arguments::{FetchLogsWithSignedUrl, FetchedLogs};

use super::arguments::Arguments;
use super::{Error, fetch_logs};
use crate::agent::Agent;
use crate::jobs::Destination;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<FetchedLogs, Error> {
    let request: FetchLogsWithSignedUrl = arguments.get(0)?;
    let to = Destination::Signed {
        url: Secret::new(request.signed_url),
        headers: request.blobstore_headers,
    };
    fetch_logs::fetch(agent, &request.log_type, &request.filters, &to).await
}
