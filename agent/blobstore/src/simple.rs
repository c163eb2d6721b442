//! BOSH's first blobstore server: `POST GET HEAD DELETE <endpoint>/<bucket>/<id>` with basic authentication, the content of
//! a POST in a form. Upstream, until 2015: simple_blobstore_server, blobstore_client/simple_blobstore_client.rb.

use crate::{
    Blob, Content, Error,
    http::{self, Http, Sent},
    id, options,
    signing::encode_segment,
};
use bosh_protocol::digest::Algorithm;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::{Method, RequestBuilder, StatusCode, header};

#[derive(Debug)]
pub(crate) struct Simple {
    options: options::Simple,
    http: Http,
}

impl Simple {
    pub(crate) fn new(options: options::Simple, http: Http) -> Self {
        Self { options, http }
    }

    fn request(&self, method: Method, id: &str) -> Result<RequestBuilder, Error> {
        id::check(id)?;
        let (endpoint, bucket) = (&self.options.endpoint, &self.options.bucket);
        let url = format!(
            "{}/{bucket}/{}",
            endpoint.trim_end_matches('/'),
            encode_segment(id)
        );
        let request = self.http.client()?.request(method, url);
        Ok(match &self.options.user {
            Some(user) => {
                let password = self.options.password.as_ref();
                request.basic_auth(user, password.map(|password| password.expose()))
            }
            None => request,
        })
    }

    pub(crate) async fn open_blob(&self, id: &str) -> Result<Blob, Error> {
        let request = self.request(Method::GET, id)?;
        http::retry(|| async {
            let response = http::open("getting", id, http::clone(&request)).await?;
            Ok(http::into_blob(id, response))
        })
        .await
    }

    pub(crate) async fn put(
        &self,
        id: &str,
        mut content: Content,
        algorithms: &[Algorithm],
    ) -> Result<Sent, Error> {
        let boundary = id::generate();
        let kind = format!("multipart/form-data; boundary={boundary}");
        let request = self
            .request(Method::POST, id)?
            .header(header::CONTENT_TYPE, kind);
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"content\"; filename=\"content\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let (chunks, size) = content.open(id).await?;
        let around = (head.len() + tail.len()) as u64;
        let one = |text: String| Box::pin(stream::once(async { Ok(Bytes::from(text)) }));
        // What is hashed must be the content alone.
        let (chunks, hashed) = http::Hashed::tap(chunks, algorithms);
        let form = Content::Chunks {
            chunks: Box::pin(one(head).chain(chunks).chain(one(tail))),
            size: size.map(|size| size + around),
        };
        let accept = |status| status == StatusCode::OK;
        match http::send(id, request, form, algorithms, accept).await {
            Ok(_) => Ok(hashed.finish()),
            Err(Error::Status { status: 409, .. }) => Err(Error::AlreadyExists(id.to_owned())),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn exists(&self, id: &str) -> Result<bool, Error> {
        let request = self.request(Method::HEAD, id)?;
        match http::retry(|| http::open("looking for", id, http::clone(&request))).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, id)?;
        match http::retry(|| http::open("deleting", id, http::clone(&request))).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
