//! Values kept by a config server (CredHub), when director.yml names one, instead of by the director itself.
//!
//! Upstream: config_server/{config_server_http_client,auth_http_client,retryable_http_client,uaa_auth_provider}.rb, and
//! the messages of client.rb.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bosh_protocol::Secret;
use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::values::Stored;
use crate::config;
use crate::manifest::{Error, Kind};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(60);
/// How often a request is sent whose connection failed.
const TRIES: u32 = 3;
/// How many requests at once.
const AT_ONCE: usize = 8;
/// Values are small.
const LONGEST: usize = 16 * 1024 * 1024;

/// A config server that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUp {
    /// A CA could not be read.
    #[error("read {0}")]
    Read(std::path::PathBuf, #[source] std::io::Error),
    /// A client could not be made of it.
    #[error("make a client for the config server")]
    Client(#[from] reqwest::Error),
}

/// A client of the config server. Cheap to clone.
#[derive(Clone)]
pub struct ConfigServer(Arc<Inner>);

struct Inner {
    url: String,
    http: reqwest::Client,
    uaa_url: String,
    uaa: reqwest::Client,
    client_id: String,
    client_secret: Secret,
    token: Mutex<Option<Secret>>,
}

/// What the server said.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl std::fmt::Debug for ConfigServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ConfigServer").field(&self.0.url).finish()
    }
}

impl ConfigServer {
    /// By what director.yml says of it. Nothing is asked yet.
    pub fn new(config: &config::ConfigServer) -> Result<Self, SetUp> {
        Ok(Self(Arc::new(Inner {
            url: config.url.trim_end_matches('/').to_owned(),
            http: client(config.ca_cert_path.as_deref())?,
            uaa_url: config.uaa_url.trim_end_matches('/').to_owned(),
            uaa: client(config.uaa_ca_cert_path.as_deref())?,
            client_id: config.uaa_client_id.clone(),
            client_secret: config.uaa_client_secret.clone(),
            token: Mutex::new(None),
        })))
    }

    /// The newest version of `name` (a full name), if there is one.
    pub async fn latest(&self, name: &str) -> Result<Option<Stored>, Error> {
        let bad = |why: &str| {
            fetch(format!(
                "Failed to fetch variable '{name}' from config server: {why}"
            ))
        };
        let query = format!("/v1/data?name={}&current=true", config::percent(name));
        let answer = self.ask(Method::GET, &query, None).await?;
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|_| bad("Invalid JSON response"))?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => {
                return Err(bad(&format!(
                    "HTTP Code '{}', Error: '{}'",
                    status.as_u16(),
                    reason(&body)
                )));
            }
        }
        let Value::Array(data) = &body["data"] else {
            return Err(bad("Expected data to be an array"));
        };
        let newest = data
            .first()
            .ok_or_else(|| bad("Expected data to be non empty array"))?;
        let id = newest
            .get("id")
            .ok_or_else(|| bad("Expected data[0] to have key 'id'"))?;
        let value = newest
            .get("value")
            .ok_or_else(|| bad("Expected data[0] to have key 'value'"))?;
        Ok(Some(stored(id, value)))
    }

    /// The version with that id, if there is one; `name` is for messages.
    pub async fn by_id(&self, name: &str, id: &str) -> Result<Option<Stored>, Error> {
        let bad = |why: &str| fetch(format!("Failed to fetch variable '{name}' {why}"));
        let path = format!("/v1/data/{}", config::percent(id));
        let answer = self.ask(Method::GET, &path, None).await?;
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| {
            bad(&format!(
                "with id '{id}' from config server: Invalid JSON response"
            ))
        })?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => {
                return Err(bad(&format!(
                    "with id '{id}' from config server: HTTP Code '{}', Error: '{}'",
                    status.as_u16(),
                    reason(&body)
                )));
            }
        }
        let key = |key: &str| {
            body.get(key).ok_or_else(|| {
                bad(&format!(
                    "from config server: Expected response to have key '{key}'"
                ))
            })
        };
        Ok(Some(stored(key("id")?, key("value")?)))
    }

    /// Has a value made, or the one there is returned, by `mode`: `no-overwrite`, `converge` or `overwrite`.
    pub async fn generate(
        &self,
        name: &str,
        kind: &str,
        options: &Map<String, Value>,
        mode: &str,
    ) -> Result<Stored, Error> {
        let body = json!({ "name": name, "type": kind, "parameters": options, "mode": mode });
        let answer = self.ask(Method::POST, "/v1/data", Some(&body)).await?;
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| {
            generation(format!(
                "Config Server returned a NON-JSON body while generating value for '{name}' with type '{kind}'. \
                 Response body was: '{}'",
                String::from_utf8_lossy(&answer.body)
            ))
        })?;
        if !answer.status.is_success() {
            return Err(generation(format!(
                "Config Server failed to generate value for '{name}' with type '{kind}'. HTTP Code '{}', Error: '{}'",
                answer.status.as_u16(),
                reason(&body)
            )));
        }
        match (body.get("id"), body.get("value")) {
            (Some(id), Some(value)) => Ok(stored(id, value)),
            (Some(id), None) => {
                let id = text(id);
                let found = self.by_id(name, &id).await?;
                found.ok_or_else(|| {
                    generation(format!(
                        "Config Server has no value '{name}' with id '{id}'"
                    ))
                })
            }
            (None, _) => Err(generation(format!(
                "Failed to version generated variable '{name}'. Expected Config Server response to have key 'id'"
            ))),
        }
    }

    /// With a token that is renewed once when the server has had enough of it.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let url = format!("{}{path}", self.0.url);
        let mut old = None;
        for _ in 0..2 {
            let token = self.token(old.as_ref()).await?;
            let mut request = self
                .0
                .http
                .request(method.clone(), &url)
                .bearer_auth(token.expose());
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = send(request)
                .await
                .map_err(|error| fetch(format!("Failed to reach the config server: {error}")))?;
            if answer.status != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            old = Some(token);
        }
        Err(fetch(
            "The config server does not accept the token that its UAA gave the director".to_owned(),
        ))
    }

    /// The token there is, or a new one instead of `old`.
    async fn token(&self, old: Option<&Secret>) -> Result<Secret, Error> {
        let mut kept = self.0.token.lock().await;
        if let Some(token) = &*kept
            && Some(token) != old
        {
            return Ok(token.clone());
        }
        let failed = |why: String| fetch(format!("Failed to obtain valid token from UAA: {why}"));
        let request = self
            .0
            .uaa
            .post(format!("{}/oauth/token", self.0.uaa_url))
            .basic_auth(&self.0.client_id, Some(self.0.client_secret.expose()))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body("grant_type=client_credentials");
        let answer = send(request).await.map_err(failed)?;
        if !answer.status.is_success() {
            return Err(failed(format!("HTTP Code '{}'", answer.status.as_u16())));
        }
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| failed("Invalid JSON response".to_owned()))?;
        let token = body["access_token"]
            .as_str()
            .ok_or_else(|| failed("no access_token in its answer".to_owned()))?;
        let token = Secret::new(token);
        *kept = Some(token.clone());
        Ok(token)
    }
}

/// Again when the connection failed, as upstream.
async fn send(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let mut failure = String::new();
    for _ in 0..TRIES {
        let Some(again) = request.try_clone() else {
            break;
        };
        let sent = async {
            let response = again.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        match sent.await {
            Ok((_, body)) if body.len() > LONGEST => {
                return Err("its answer is too long".to_owned());
            }
            Ok((status, body)) => {
                return Ok(Answer {
                    status,
                    body: body.to_vec(),
                });
            }
            Err(error) => failure = chain(&error.without_url()),
        }
    }
    Err(failure)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn client(ca: Option<&Path>) -> Result<reqwest::Client, SetUp> {
    let mut builder = reqwest::Client::builder()
        .timeout(REQUEST)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = ca {
        // Templates leave an empty file when there is no CA of one's own.
        match std::fs::read(path) {
            Ok(pem) if !pem.trim_ascii().is_empty() => {
                let certificates = reqwest::Certificate::from_pem_bundle(&pem)?;
                builder = builder.tls_certs_only(certificates);
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(SetUp::Read(path.to_path_buf(), error)),
        }
    }
    Ok(builder.build()?)
}

/// Fills `values` in from their latest versions; names that the server has not stay out.
pub(super) async fn load(
    server: &ConfigServer,
    names: &[String],
) -> Result<BTreeMap<String, Stored>, Error> {
    let asked: Vec<_> = names
        .iter()
        .map(|name| async move { (name.clone(), server.latest(name).await) })
        .collect();
    gather(stream::iter(asked).buffered(AT_ONCE).collect().await)
}

/// The same by ids.
pub(super) async fn load_set(
    server: &ConfigServer,
    set: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Stored>, Error> {
    let asked: Vec<_> = set
        .iter()
        .map(|(name, id)| async move { (name.clone(), server.by_id(name, id).await) })
        .collect();
    gather(stream::iter(asked).buffered(AT_ONCE).collect().await)
}

fn gather(
    answers: Vec<(String, Result<Option<Stored>, Error>)>,
) -> Result<BTreeMap<String, Stored>, Error> {
    let mut found = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, answer) in answers {
        match answer {
            Ok(Some(stored)) => {
                found.insert(name, stored);
            }
            Ok(None) => {}
            Err(error) => {
                let line = format!("- {error}");
                if !errors.contains(&line) {
                    errors.push(line);
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(fetch(errors.join("\n")))
    }
}

fn stored(id: &Value, value: &Value) -> Stored {
    Stored {
        id: text(id),
        value: value.clone(),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn reason(body: &Value) -> String {
    body.get("error").map(text).unwrap_or_default()
}

fn fetch(message: String) -> Error {
    Error::new(Kind::ConfigServerFetchError, message)
}

fn generation(message: String) -> Error {
    Error::new(Kind::ConfigServerGenerationError, message)
}

#[cfg(test)]
#[path = "config_server_tests.rs"]
mod tests;
