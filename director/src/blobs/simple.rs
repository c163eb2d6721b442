//! What BOSH's first blobstore server answered: blobs by id, the content of a POST in the part `content` of a form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bosh_blobstore::id;
use futures_util::{TryStreamExt, stream};

use super::files::PutError;
use super::server::{self, MAX_UPLOAD, Server};

/// The part of a form that is the blob.
const CONTENT: &str = "content";

/// Answers a request for `/resources/<blob>`, or for `/resources` if there is no id; it is known to be allowed.
pub(super) async fn handle(server: Arc<Server>, blob: Option<&str>, request: Request) -> Response {
    let made = id::generate();
    let method = request.method().clone();
    let blob = match (blob, &method) {
        (Some(blob), _) => blob,
        (None, &Method::POST) => &made,
        (None, _) => return StatusCode::NOT_FOUND.into_response(),
    };
    let file = server.files.path_of(blob).filter(|_| !blob.contains('/'));
    let Some(file) = file else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match method {
        Method::GET => server::get(&file, true).await,
        Method::HEAD => server::get(&file, false).await,
        Method::DELETE => server::delete(&file).await,
        Method::POST | Method::PUT => {
            let stored = if method == Method::PUT {
                let chunks = request.into_body().into_data_stream();
                let chunks = chunks.map_err(PutError::body);
                server.files.create(&file, chunks, MAX_UPLOAD).await
            } else {
                create(&server, &file, request).await
            };
            match stored {
                Ok(()) => {
                    let kind = [(header::CONTENT_TYPE, "text/plain;charset=utf-8")];
                    (kind, Body::from(blob.to_owned())).into_response()
                }
                Err(PutError::Io(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    StatusCode::CONFLICT.into_response()
                }
                Err(error) => server::refused(&file, error),
            }
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn create(
    server: &Server,
    file: &std::path::Path,
    mut request: Request,
) -> Result<(), PutError> {
    // The server has a limit of its own.
    axum::extract::DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(PutError::body)?;
    while let Some(field) = form.next_field().await.map_err(PutError::body)? {
        if field.name() != Some(CONTENT) {
            continue;
        }
        let chunks = stream::try_unfold(field, |mut field| async move {
            let chunk = field.chunk().await.map_err(PutError::body)?;
            Ok(chunk.map(|chunk| (chunk, field)))
        });
        return server.files.create(file, chunks, MAX_UPLOAD).await;
    }
    Err(PutError::Body("a form without content".to_owned()))
}
