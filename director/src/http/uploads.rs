//! Archives in a request's body, written to disk as they come.
//!
//! The CLI sends the archive itself. Forms (`multipart/form-data`) hold it in a part with a file name, or, from upstream's
//! nginx in front, name the file that nginx wrote it to.

use std::path::{Path, PathBuf};

use axum::RequestExt as _;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Multipart;
use axum::extract::multipart::Field;
use axum::http::header;
use bosh_director_api::{Code, RemoteArchive};
use futures_util::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

use super::error::{Error, Result};
use super::request::parse_json;
use super::{Media, Request};
use crate::config::Config;
use crate::release::Source;

/// Longest JSON that says where an archive is, and longest field of a form that is no file.
const SMALL: usize = 64 * 1024;
/// How much is gathered before it is written.
const BUFFER: usize = 256 * 1024;
/// Most parts of a form.
const PARTS: usize = 16;
/// The field that nginx puts the path of what it received into.
const NGINX: &str = "nginx_upload_path";

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
        Some(Media::Archive) => {
            let path = store(&request.director.config, body.into_data_stream()).await?;
            Ok((Source::File(path), named))
        }
        Some(Media::Form) => Ok((Source::File(form(request, body).await?), named)),
        _ => Err(request.no_endpoint()),
    }
}

/// The file of a form.
async fn form(request: &Request, body: Body) -> Result<PathBuf> {
    let config = &request.director.config;
    let mut again = axum::extract::Request::new(body);
    if let Some(media) = request.headers.get(header::CONTENT_TYPE) {
        again
            .headers_mut()
            .insert(header::CONTENT_TYPE, media.clone());
    }
    let broken =
        |error: &dyn std::fmt::Display| Error::bad_request(format!("form not read: {error}"));
    let form: std::result::Result<Multipart, _> = again.extract().await;
    let mut form = form.map_err(|error| broken(&error))?;
    // `nginx_upload_path` of nginx's own making comes last; its file must go when the request fails.
    for _ in 0..PARTS {
        let field = form.next_field().await.map_err(|error| broken(&error))?;
        let Some(field) = field else { break };
        if field.name() == Some(NGINX) {
            return from_nginx(config, &text(field).await?).await;
        }
        if field.file_name().is_some() {
            return store(config, field).await;
        }
        text(field).await?;
    }
    Err(Error::bad_request(format!(
        "expected a form with a file or with '{NGINX}'"
    )))
}

/// A short field.
async fn text(mut field: Field<'_>) -> Result<String> {
    let mut text = Vec::new();
    while let Some(chunk) = field
        .chunk()
        .await
        .map_err(|error| Error::bad_request(format!("form not read: {error}")))?
    {
        text.extend_from_slice(&chunk);
        if text.len() > SMALL {
            return Err(too_large(SMALL as u64));
        }
    }
    String::from_utf8(text).map_err(|_| Error::bad_request("form not read: a field is no UTF-8"))
}

/// What nginx wrote. Believed only behind nginx: anybody else could name any file of this machine.
async fn from_nginx(config: &Config, path: &str) -> Result<PathBuf> {
    let behind_nginx = config.listen.tls.is_none() && config.listen.address.ip().is_loopback();
    let path = PathBuf::from(path.trim());
    if !behind_nginx || !path.is_absolute() {
        return Err(Error::bad_request(format!(
            "'{NGINX}' is only taken from nginx in front of the director"
        )));
    }
    match tokio::fs::symlink_metadata(&path).await {
        Ok(file) if file.is_file() => Ok(path),
        _ => Err(Error::bad_request(format!(
            "'{NGINX}' is not the path of a file"
        ))),
    }
}

fn too_large(limit: u64) -> Error {
    Error::Plain(
        axum::http::StatusCode::PAYLOAD_TOO_LARGE,
        format!("the upload is larger than {limit} bytes"),
    )
}

/// Writes what comes to a file that the task will delete.
async fn store<E: std::fmt::Display>(
    config: &Config,
    chunks: impl Stream<Item = std::result::Result<Bytes, E>>,
) -> Result<PathBuf> {
    let directory = config.dir.join("tmp");
    tokio::fs::create_dir_all(&directory).await?;
    // Dropped with the request when the client goes away: nothing half-received stays.
    let guard = Unfinished(Some(directory.join(format!("upload-{}", Uuid::new_v4()))));
    write(guard.path(), chunks, config.limits.upload).await?;
    Ok(guard.keep())
}

/// A file that is deleted unless it is kept.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "upload not removed");
        }
    }
}

async fn write<E: std::fmt::Display>(
    path: &Path,
    chunks: impl Stream<Item = std::result::Result<Bytes, E>>,
    limit: u64,
) -> Result<()> {
    let file = tokio::fs::File::create(path).await?;
    let mut file = tokio::io::BufWriter::with_capacity(BUFFER, file);
    let mut chunks = std::pin::pin!(chunks);
    let mut size = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Error::bad_request(format!("the upload broke off: {error}")))?;
        size += chunk.len() as u64;
        if size > limit {
            return Err(too_large(limit));
        }
        if let Err(error) = file.write_all(&chunk).await {
            return Err(full(error));
        }
    }
    file.flush().await.map_err(full)
}

fn full(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Error::new(
            Code::NotEnoughDiskSpace,
            "Uploading failed. Insufficient space on BOSH director",
        ),
        _ => error.into(),
    }
}
