//! The client. Source: upstream's director.rb, auth_provider.rb and plugins/http_request_helper.rb.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::uaa::{self, Uaa};
use crate::config::DirectorOptions;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client; clones share connections and token.
#[derive(Clone)]
pub struct Director {
    shared: Arc<Shared>,
}

struct Shared {
    options: DirectorOptions,
    http: reqwest::Client,
    uaa_http: reqwest::Client,
    /// Whether there is a UAA, once `/info` has said so.
    uaa: tokio::sync::OnceCell<Option<Uaa>>,
}

/// Why the director could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A CA file is unusable.
    #[error("reading the CA certificate {path}: {reason}")]
    Ca {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// No HTTP client could be made.
    #[error("setting up TLS")]
    Client(#[source] reqwest::Error),
    /// No answer.
    #[error("unable to send {method} {path} to the director")]
    Send {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is not a yes.
    #[error("{method} {path}: the director answered {status}: {body}")]
    Status {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        body: String,
    },
    /// An answer that is not what it should be.
    #[error("{method} {path}: cannot read the director's answer")]
    Body {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The UAA gave no token.
    #[error(transparent)]
    Token(#[from] uaa::Error),
}

impl Error {
    /// Whether the director says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

impl Director {
    /// A client for these options; reads the CA files.
    pub fn new(options: &DirectorOptions) -> Result<Self, Error> {
        Self::through(options, None)
    }

    /// The same through a proxy, instead of the environment's.
    pub fn through(options: &DirectorOptions, proxy: Option<&str>) -> Result<Self, Error> {
        let ca = pem(options.director_ca_cert.as_deref())?;
        let uaa_ca = pem(options.uaa_ca_cert.as_deref())?.or_else(|| ca.clone());
        let shared = Shared {
            http: client(ca, proxy)?,
            uaa_http: client(uaa_ca, None)?,
            options: options.clone(),
            uaa: tokio::sync::OnceCell::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// GET of a JSON document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.send(Method::GET, path, None).await?;
        response.json().await.map_err(|source| Error::Body {
            method: Method::GET,
            path: path.to_owned(),
            source,
        })
    }

    /// Sends a JSON body; a redirect to a task is a yes too.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, Error> {
        let request = self.shared.http.request(method.clone(), self.url(path));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = send(self.authorized(request).await?, method.clone(), path).await?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED
            && let Some(Some(uaa)) = self.shared.uaa.get()
        {
            uaa.forget().await;
        }
        Err(refused(method, path, response).await)
    }

    fn url(&self, path: &str) -> String {
        format!(
            "{}{path}",
            self.shared.options.endpoint.trim_end_matches('/')
        )
    }

    async fn authorized(&self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        let options = &self.shared.options;
        let uaa = &self.shared.uaa;
        match uaa.get_or_try_init(|| self.discover()).await? {
            Some(uaa) => {
                let header = uaa.header(&self.shared.uaa_http).await?;
                Ok(request.header("Authorization", header))
            }
            None => Ok(request.basic_auth(
                options.user.as_deref().unwrap_or_default(),
                options.password.as_deref(),
            )),
        }
    }

    /// Asks the director whether it wants tokens of a UAA.
    async fn discover(&self) -> Result<Option<Uaa>, Error> {
        let path = "/info";
        let response = send(self.shared.http.get(self.url(path)), Method::GET, path).await?;
        if !response.status().is_success() {
            return Err(refused(Method::GET, path, response).await);
        }
        let info: Value = response.json().await.map_err(|source| Error::Body {
            method: Method::GET,
            path: path.to_owned(),
            source,
        })?;
        let authentication = &info["user_authentication"];
        let url = authentication["options"]["url"]
            .as_str()
            .filter(|_| authentication["type"] == "uaa");
        Ok(url.map(|url| Uaa::new(url, &self.shared.options)))
    }
}

/// An answer that is not a yes, as an error.
async fn refused(method: Method, path: &str, response: reqwest::Response) -> Error {
    let status = response.status();
    // What cannot be read of the body is missing in the message only.
    let body = response.text().await.unwrap_or_default();
    Error::Status {
        method,
        path: path.to_owned(),
        status,
        body: body.chars().take(500).collect(),
    }
}

async fn send(
    request: RequestBuilder,
    method: Method,
    path: &str,
) -> Result<reqwest::Response, Error> {
    request.send().await.map_err(|source| Error::Send {
        method,
        path: path.to_owned(),
        source: source.without_url(),
    })
}

fn pem(path: Option<&str>) -> Result<Option<Vec<u8>>, Error> {
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    match std::fs::read(path) {
        Ok(pem) if pem.trim_ascii().is_empty() => Ok(None),
        Ok(pem) => Ok(Some(pem)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Ca {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// A client that trusts the given CAs only, or the machine's own without any.
fn client(ca: Option<Vec<u8>>, proxy: Option<&str>) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    let builder = match proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy).map_err(Error::Client)?),
        None => builder,
    };
    let builder = match ca {
        Some(pem) => {
            builder.tls_certs_only(Certificate::from_pem_bundle(&pem).map_err(Error::Client)?)
        }
        None => builder,
    };
    builder.build().map_err(Error::Client)
}
