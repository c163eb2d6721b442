//! `upload_blob`: rendered templates over the message bus, so that they never touch the blobstore.

use base64::Engine as _;
use bosh_protocol::BlobId;
use bosh_protocol::arguments::UploadBlob;

use super::arguments::Arguments;
use super::{Error, error::Context as _};
use crate::agent::Agent;

pub(super) async fn run(agent: &Agent, mut arguments: Arguments) -> Result<BlobId, Error> {
    let blob: UploadBlob = arguments.get(0)?;
    let payload = base64::engine::general_purpose::STANDARD
        .decode(blob.payload.expose())
        .plain()?;
    let corrupted = || {
        format!(
            "Payload corrupted. Checksum mismatch. Expected '{}'",
            blob.checksum
        )
    };
    blob.checksum.verify(&payload).context(corrupted())?;
    agent
        .tools()
        .blobs
        .keep_sensitive(&blob.blob_id, &payload, &blob.checksum)
        .plain()?;
    Ok(blob.blob_id)
}
