//! Replies: JSON, redirects to tasks, files.

use std::path::Path;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use tower_http::CompressionLevel;
use tower_http::compression::{CompressionLayer, Predicate};

use super::error::{Error, Result};
use crate::tasks::{NewTask, Work};

/// Replies smaller than this are not compressed. Upstream's nginx: `gzip_min_length`.
const WORTH: u64 = 1250;
/// Files up to this size are sent in one piece.
const SMALL: u64 = 256 * 1024;

/// 200 with JSON.
pub(super) fn json(value: &impl Serialize) -> Response {
    json_with(StatusCode::OK, value)
}

/// Any status with JSON.
pub(super) fn json_with(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "reply not written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Where clients look how a task is doing. Upstream's framework redirects with
/// 302 behind its nginx, which is what the CLI follows.
pub(super) fn task(task: &crate::tasks::Task) -> Response {
    (
        StatusCode::FOUND,
        [(header::LOCATION, format!("/tasks/{}", task.id))],
    )
        .into_response()
}

/// Enqueues work and redirects to its task.
pub(super) async fn enqueue(
    request: &super::Request,
    work: Work,
    deployment: Option<&str>,
    description: impl Into<String>,
) -> Result {
    let new = NewTask {
        work,
        username: request.user.name.clone(),
        deployment: deployment.map(str::to_owned),
        description: description.into(),
        context_id: request.context_id.clone(),
    };
    Ok(task(&request.director.tasks.enqueue(new).await?))
}

/// A file of plain text, or the part of it that `Range` asks for. 204 when
/// there is no such file.
pub(super) async fn text_file(path: &Path, headers: &HeaderMap) -> Result {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let size = file.metadata().await?.len();
    let (status, start, end) = match requested(headers, size) {
        None => (StatusCode::OK, 0, size),
        Some(Ok((start, end))) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Err(())) => return Ok(unsatisfiable(size)),
    };
    if start > 0 {
        file.seek(std::io::SeekFrom::Start(start)).await?;
    }
    let length = end - start;
    let body = if length <= SMALL {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(length).read_to_end(&mut bytes).await?;
        Body::from(bytes)
    } else {
        Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 * 1024))
    };
    Ok(part(status, body, start, end, size))
}

/// Text, or the part of it that `Range` asks for, as [`text_file`].
pub(super) fn text(text: &str, headers: &HeaderMap) -> Result {
    let size = text.len() as u64;
    match requested(headers, size) {
        None => Ok(part(
            StatusCode::OK,
            Body::from(text.to_owned()),
            0,
            size,
            size,
        )),
        Some(Ok((start, end))) => {
            let at = |at: u64| usize::try_from(at).unwrap_or(text.len());
            let bytes = text.as_bytes().get(at(start)..at(end)).unwrap_or_default();
            let body = Body::from(bytes.to_vec());
            Ok(part(StatusCode::PARTIAL_CONTENT, body, start, end, size))
        }
        Some(Err(())) => Ok(unsatisfiable(size)),
    }
}

fn unsatisfiable(size: u64) -> Response {
    let range = format!("bytes */{size}");
    (
        StatusCode::RANGE_NOT_SATISFIABLE,
        [(header::CONTENT_RANGE, range)],
        "Byte range unsatisfiable",
    )
        .into_response()
}

fn part(status: StatusCode, body: Body, start: u64, end: u64, size: u64) -> Response {
    let mut response = (
        status,
        [
            (header::CONTENT_TYPE, "text/plain;charset=utf-8"),
            (header::ACCEPT_RANGES, "bytes"),
        ],
        body,
    )
        .into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, (end - start).into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", end - 1);
        if let Ok(range) = range.parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    response
}

/// The one range that was asked for, as start and end (exclusive). `None` for
/// no range, several, or one that makes no sense: the whole file is sent.
fn requested(headers: &HeaderMap, size: u64) -> Option<std::result::Result<(u64, u64), ()>> {
    let value = headers.get(header::RANGE)?.to_str().ok()?;
    let range = value.strip_prefix("bytes=")?;
    if size == 0 || range.contains(',') {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let (start, end) = match (first, last) {
        ("", suffix) => (size.saturating_sub(suffix.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(size))
        }
    };
    Some(if start < end {
        Ok((start, end))
    } else {
        Err(())
    })
}

/// Compresses what gains by it, for clients that ask (upstream: nginx in front of the director).
pub(super) fn compression() -> CompressionLayer<Compressible> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(Compressible)
}

/// Text and JSON that is not tiny.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: HttpBody>(&self, response: &axum::http::Response<B>) -> bool {
        let media = response.headers().get(header::CONTENT_TYPE);
        let media = media.and_then(|media| media.to_str().ok());
        let fits = media.is_some_and(|media| {
            media.starts_with("text/") || media.starts_with("application/json")
        });
        let size = response.body().size_hint();
        fits && size.exact().is_none_or(|size| size >= WORTH)
    }
}

/// A blob as a download.
pub(super) fn blob(blob: bosh_blobstore::Blob, content_type: &'static str) -> Response {
    let size = blob.size();
    let body = Body::from_stream(blob.into_chunks());
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    if let Some(size) = size {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, size.into());
    }
    response
}

/// An error of the blobstore while reading `id`.
pub(super) fn blob_error(id: &str, error: &bosh_blobstore::Error) -> Error {
    use bosh_director_api::Code;
    match error {
        bosh_blobstore::Error::NotFound(_) | bosh_blobstore::Error::InvalidId(_) => Error::new(
            Code::ResourceNotFound,
            format!("Resource '{id}' not found in the blobstore"),
        ),
        other => Error::new(
            Code::ResourceError,
            format!("Blobstore error accessing resource '{id}': {other}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(value: &str, size: u64) -> Option<std::result::Result<(u64, u64), ()>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, value.parse().unwrap());
        requested(&headers, size)
    }

    #[test]
    fn ranges_as_the_cli_asks_for_them() {
        assert!(matches!(range("bytes=0-", 10), Some(Ok((0, 10)))));
        assert!(matches!(range("bytes=4-", 10), Some(Ok((4, 10)))));
        assert!(matches!(range("bytes=10-", 10), Some(Err(()))));
        assert!(range("bytes=0-", 0).is_none());
        assert!(matches!(range("bytes=-3", 10), Some(Ok((7, 10)))));
        assert!(matches!(range("bytes=2-4", 10), Some(Ok((2, 5)))));
        assert!(matches!(range("bytes=2-400", 10), Some(Ok((2, 10)))));
        assert!(range("bytes=4-2", 10).is_none());
        assert!(range("bytes=0-1,3-4", 10).is_none());
        assert!(range("lines=0-1", 10).is_none());
    }
}
