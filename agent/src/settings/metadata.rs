//! Settings from a metadata service over HTTP: as user data (`HTTP`), or as one value (`InstanceMetadata`).
//! Source: upstream infrastructure/{http_metadata_service,instance_metadata_settings_source}.go.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bosh_protocol::Settings;
use bosh_protocol::network::{Network, Networks};
use reqwest::{Client, Method, RequestBuilder, StatusCode};

use super::{Error, parse};
use crate::config::Metadata;
use crate::platform::Platform;

/// How often a request is made before its answer counts that is none of success.
const ATTEMPTS: u32 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer. Infrastructures allow user data of some tens of kilobytes.
const MAX_ANSWER: usize = 16 << 20;
const TOKEN: &str = "X-aws-ec2-metadata-token";
/// As `base64.RawURLEncoding`, and padded too.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The settings in user data: JSON, or that in base64.
pub(super) async fn user_data(
    platform: &dyn Platform,
    service: &Metadata,
    path: &str,
    delay: Duration,
) -> Result<Settings, Error> {
    let session = Session::open(platform, service, delay).await?;
    let (status, body) = session.get(path).await?;
    if !status.is_success() {
        return Err(Error::Status {
            origin: session.origin(path),
            status: status.as_u16(),
        });
    }
    let settings: Settings = match serde_json::from_slice(&body) {
        Ok(settings) => settings,
        Err(_) => {
            let plain: Vec<u8> = body
                .into_iter()
                .filter(|byte| !matches!(byte, b'"' | b'\r' | b'\n'))
                .collect();
            let decoded = URL_SAFE.decode(plain).map_err(|source| Error::Base64 {
                origin: session.origin(path),
                source,
            })?;
            parse(&decoded, || session.origin(path))?
        }
    };
    if settings.agent_id.as_str().is_empty() {
        return Err(Error::NoAgentId);
    }
    Ok(settings)
}

/// The settings as the value at a path.
pub(super) async fn value(
    platform: &dyn Platform,
    service: &Metadata,
    path: &str,
    delay: Duration,
) -> Result<Settings, Error> {
    if path.is_empty() {
        return Err(Error::EmptyPath);
    }
    let session = Session::open(platform, service, delay).await?;
    let (status, body) = session.get(path).await?;
    if !status.is_success() {
        return Err(Error::Status {
            origin: session.origin(path),
            status: status.as_u16(),
        });
    }
    parse(&body, || session.origin(path))
}

/// The infrastructure's key for `vcap`. Without a path, or without a key there, there is none.
pub(super) async fn public_ssh_key(
    platform: &dyn Platform,
    service: &Metadata,
    path: &str,
    delay: Duration,
) -> Result<Option<String>, Error> {
    if path.is_empty() {
        return Ok(None);
    }
    let session = Session::open(platform, service, delay).await?;
    let (status, body) = session.get(path).await?;
    if !status.is_success() {
        // Upstream takes any other page but that of a 404 for a key; it boots then, and so does ours.
        tracing::warn!(origin = session.origin(path), %status, "there is no key");
        return Ok(None);
    }
    let key = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(key).filter(|key| !key.is_empty()))
}

/// Requests with the headers, and the token if one is to be had.
struct Session<'a> {
    client: Client,
    service: &'a Metadata,
    token: Option<String>,
    delay: Duration,
}

impl<'a> Session<'a> {
    async fn open(
        platform: &dyn Platform,
        service: &'a Metadata,
        delay: Duration,
    ) -> Result<Self, Error> {
        ensure_network(platform).await?;
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // The service is next to the machine.
            .no_proxy()
            .build()
            .map_err(|source| Error::Request {
                origin: service.uri.clone(),
                source,
            })?;
        let mut session = Self {
            client,
            service,
            token: None,
            delay,
        };
        if !service.token_path.is_empty() {
            let request = session
                .request(Method::PUT, &service.token_path)
                .header("X-aws-ec2-metadata-token-ttl-seconds", "300");
            let (status, body) = session.send(request, &service.token_path).await?;
            // A service without tokens answers requests without one.
            if status == StatusCode::OK {
                session.token = Some(String::from_utf8_lossy(&body).trim_end().to_owned());
            }
        }
        Ok(session)
    }

    fn origin(&self, path: &str) -> String {
        format!("{}{path}", self.service.uri)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.origin(path))
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Vec<u8>), Error> {
        let mut request = self.request(Method::GET, path);
        for (name, value) in &self.service.headers {
            request = request.header(name, value);
        }
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            request = request.header(TOKEN, token);
        }
        self.send(request, path).await
    }

    async fn send(
        &self,
        request: RequestBuilder,
        path: &str,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let fail = |source| Error::Request {
            origin: self.origin(path),
            source,
        };
        let request = request.build().map_err(fail)?;
        let mut attempt = 1;
        loop {
            // No request here has a body that could not be sent again.
            let again = request.try_clone().unwrap_or_else(|| {
                reqwest::Request::new(request.method().clone(), request.url().clone())
            });
            let last = attempt == ATTEMPTS;
            match self.answer(again, path).await {
                Ok(answer) if answer.0.is_success() || last => return Ok(answer),
                Ok((status, _)) => {
                    tracing::debug!(origin = self.origin(path), %status, attempt, "ask again");
                }
                Err(error @ Error::TooLong { .. }) => return Err(error),
                Err(error) if last => return Err(error),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(origin = self.origin(path), error, attempt, "ask again");
                }
            }
            attempt += 1;
            tokio::time::sleep(self.delay).await;
        }
    }

    async fn answer(
        &self,
        request: reqwest::Request,
        path: &str,
    ) -> Result<(StatusCode, Vec<u8>), Error> {
        let fail = |source| Error::Request {
            origin: self.origin(path),
            source,
        };
        let mut response = self.client.execute(request).await.map_err(fail)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fail)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::TooLong {
                    origin: self.origin(path),
                    limit: MAX_ANSWER,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }
}

/// A service can be reached only over a network. One that is configured already, be it reachable or not, is left alone:
/// an earlier boot has made it as the settings want it.
async fn ensure_network(platform: &dyn Platform) -> Result<(), Error> {
    if !platform.configured_interfaces().await?.is_empty() {
        return Ok(());
    }
    let dhcp = Network {
        kind: "dynamic".to_owned(),
        ..Network::default()
    };
    let networks = Networks([("eth0".to_owned(), dhcp)].into());
    platform.setup_networking(&networks, &[]).await?;
    Ok(())
}
