//! Archives in a request's body, written to disk as they come.

use std::path::PathBuf;

use axum::body::{Body, to_bytes};
use bosh_director_api::{Code, RemoteArchive};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::error::{Error, Result};
use super::request::parse_json;
use super::{Media, Request};
use crate::release::Source;

/// Longest JSON that says where an archive is.
const SMALL: usize = 64 * 1024;
/// How much is gathered before it is written.
const BUFFER: usize = 256 * 1024;

/// The archive that a request brings or names, and the digest that it names.
pub(super) async fn receive(request: &Request, body: Body) -> Result<(Source, Option<String>)> {
    let named = request
        .param("sha1")
        .filter(|sha1| !sha1.is_empty())
        .map(str::to_owned);
    match request.media() {
        Some(Media::Json) => {
            let body = to_bytes(body, SMALL)
                .await
                .map_err(|error| Error::bad_request(format!("body not read: {error}")))?;
            let remote: RemoteArchive = parse_json(&body)?;
            let sha1 = remote.sha1.filter(|sha1| !sha1.is_empty());
            if sha1.is_some() && named.is_some() {
                return Err(Error::bad_request("Sha1 provided in multiple places"));
            }
            Ok((Source::Url(remote.location), sha1.or(named)))
        }
        Some(Media::Archive) => Ok((Source::File(store(request, body).await?), named)),
        _ => Err(request.no_endpoint()),
    }
}

/// Writes the body to a file that the task will delete.
async fn store(request: &Request, body: Body) -> Result<PathBuf> {
    let directory = request.director.config.dir.join("tmp");
    tokio::fs::create_dir_all(&directory).await?;
    let path = directory.join(format!("upload-{}", Uuid::new_v4()));
    let written = write(&path, body).await;
    if written.is_err()
        && let Err(error) = tokio::fs::remove_file(&path).await
    {
        tracing::warn!(path = %path.display(), %error, "upload not removed");
    }
    written.map(|()| path)
}

async fn write(path: &std::path::Path, body: Body) -> Result<()> {
    let file = tokio::fs::File::create(path).await?;
    let mut file = tokio::io::BufWriter::with_capacity(BUFFER, file);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Error::bad_request(format!("the upload broke off: {error}")))?;
        if let Err(error) = file.write_all(&chunk).await {
            return Err(match error.kind() {
                std::io::ErrorKind::StorageFull => Error::new(
                    Code::NotEnoughDiskSpace,
                    "Uploading failed. Insufficient space on BOSH director",
                ),
                _ => error.into(),
            });
        }
    }
    file.flush().await?;
    Ok(())
}
