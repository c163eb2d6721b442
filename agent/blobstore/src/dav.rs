//! A WebDAV server that knows basic authentication: upstream's nginx blobstore job, or our director's embedded one.
//! Upstream: bosh-davcli client/client.go.

use crate::{
    Blob, Content, Error,
    http::{self, Http, Sent},
    id, options,
    signing::encode_segment,
};
use bosh_protocol::digest::Algorithm;
use reqwest::{Method, RequestBuilder, StatusCode};

#[derive(Debug)]
pub(crate) struct Dav {
    options: options::Dav,
    http: Http,
}

impl Dav {
    pub(crate) fn new(options: options::Dav, http: Http) -> Self {
        Self { options, http }
    }

    pub(crate) fn options(&self) -> &options::Dav {
        &self.options
    }

    fn request(&self, method: Method, id: &str) -> Result<RequestBuilder, Error> {
        id::check(id)?;
        let path: Vec<String> = id::dav_path(id).split('/').map(encode_segment).collect();
        let url = format!(
            "{}/{}",
            self.options.endpoint.trim_end_matches('/'),
            path.join("/")
        );
        let request = self.http.client()?.request(method, url);
        Ok(match self.options.user.as_deref() {
            Some(user) if !user.is_empty() => {
                request.basic_auth(user, self.options.password.as_deref())
            }
            _ => request,
        })
    }

    pub(crate) async fn open_blob(&self, id: &str) -> Result<Blob, Error> {
        let request = self.request(Method::GET, id)?;
        http::retry(|| async {
            Ok(http::into_blob(
                id,
                http::open("getting", id, http::clone(&request)).await?,
            ))
        })
        .await
    }

    pub(crate) async fn put(
        &self,
        id: &str,
        content: Content,
        algorithms: &[Algorithm],
    ) -> Result<Sent, Error> {
        // Like davcli: 200 is not what a DAV server says to a PUT that worked.
        let accept = |status| matches!(status, StatusCode::CREATED | StatusCode::NO_CONTENT);
        http::send(
            id,
            self.request(Method::PUT, id)?,
            content,
            algorithms,
            accept,
        )
        .await
    }

    pub(crate) async fn exists(&self, id: &str) -> Result<bool, Error> {
        let request = self.request(Method::HEAD, id)?;
        let found = http::retry(|| http::open("looking for", id, http::clone(&request))).await;
        match found {
            Ok(_) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(crate) async fn delete(&self, id: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, id)?;
        match http::retry(|| http::open("deleting", id, http::clone(&request))).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }
}
