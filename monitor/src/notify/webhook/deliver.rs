//! The requests, and the signature that says who sent them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Url, header};
use ring::hmac;
use serde::Deserialize;

use super::chat;
use super::template::Template;
use crate::event::{Alert, Event, Heartbeat};
use crate::notify::http::{self, Way};
use crate::notify::plan::seconds;
use crate::notify::target::{Failure, Manner, Target};

/// The header that receivers commonly look for a signature in.
const SIGNATURE: &str = "X-Hub-Signature-256";

/// What the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Json,
    Slack,
    Teams,
    Discord,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::notify) struct Options {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
    body: Option<String>,
    content_type: Option<String>,
    secret: Option<String>,
    signature_header: Option<String>,
    #[serde(default, deserialize_with = "some_seconds")]
    timeout: Option<Duration>,
    http_proxy: Option<String>,
    ca_cert: Option<String>,
}

fn some_seconds<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer).map(Some)
}

enum Body {
    Ready(Format),
    Own(Template),
}

pub(in crate::notify) struct Webhook {
    http: reqwest::Client,
    url: Url,
    method: Method,
    headers: header::HeaderMap,
    body: Body,
    secret: Option<(header::HeaderName, hmac::Key)>,
}

pub(in crate::notify) fn new(options: Options) -> Result<(Webhook, Manner), String> {
    let url = http::url("url", &options.url)?;
    let method = options
        .method
        .as_deref()
        .unwrap_or("POST")
        .to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| format!("method: expected an HTTP method, found {method}"))?;
    let mut headers = headers(&options.headers)?;
    let said = options.content_type.or_else(|| {
        let said = headers.get(header::CONTENT_TYPE)?;
        said.to_str().ok().map(str::to_owned)
    });
    let content_type = said.unwrap_or_else(|| "application/json".to_owned());
    let value = header::HeaderValue::from_str(&content_type)
        .map_err(|_| format!("content_type: expected a media type, found {content_type:?}"))?;
    headers.insert(header::CONTENT_TYPE, value);
    let body = match options.body {
        Some(_) if options.format != Format::Json => {
            return Err("body: expected no format beside it".to_owned());
        }
        Some(text) => Body::Own(
            Template::parse(&text, content_type.contains("json"))
                .map_err(|error| format!("body: {error}"))?,
        ),
        None => Body::Ready(options.format),
    };
    let name = options.signature_header.as_deref().unwrap_or(SIGNATURE);
    let name: header::HeaderName = name
        .parse()
        .map_err(|_| format!("signature_header: expected the name of a header, found {name:?}"))?;
    let secret = match options.secret {
        Some(secret) if secret.is_empty() => return Err("secret: expected a secret".to_owned()),
        Some(secret) => Some((name, hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))),
        None => None,
    };
    let way = Way {
        proxy: options.http_proxy,
        ca_cert: options.ca_cert,
        timeout: options.timeout,
    };
    let webhook = Webhook {
        http: http::client(&url, &way)?,
        url,
        method,
        headers,
        body,
        secret,
    };
    let manner = Manner {
        recovery: true,
        ..Manner::default()
    };
    Ok((webhook, manner))
}

/// What stands in them may be a token: it is never logged.
fn headers(raw: &BTreeMap<String, String>) -> Result<header::HeaderMap, String> {
    let mut headers = header::HeaderMap::new();
    for (name, value) in raw {
        let name: header::HeaderName = name
            .parse()
            .map_err(|_| format!("headers: expected the name of a header, found {name:?}"))?;
        let mut value = header::HeaderValue::from_str(value)
            .map_err(|_| format!("headers: {name}: expected the value of a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

impl Webhook {
    async fn send(&self, event: Event) -> Result<(), Failure> {
        let body = match (&self.body, &event) {
            (Body::Own(template), event) => template.fill(event),
            (Body::Ready(Format::Json), event) => event.to_json().to_string(),
            (Body::Ready(Format::Slack), event) => chat::slack(event).to_string(),
            (Body::Ready(Format::Teams), event) => chat::teams(event).to_string(),
            (Body::Ready(Format::Discord), event) => chat::discord(event).to_string(),
        };
        let mut request = self
            .http
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        if let Some((name, key)) = &self.secret {
            request = request.header(name, signature(key, body.as_bytes()));
        }
        http::send(request.body(body)).await
    }
}

/// `sha256=` and the HMAC of the body in hexadecimal.
fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let tag = hmac::sign(key, body);
    let hex = tag.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256={}", hex.collect::<String>())
}

#[async_trait]
impl Target for Webhook {
    async fn alerts(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            self.send(Event::Alert(alert.clone())).await?;
        }
        Ok(())
    }

    async fn heartbeats(&mut self, heartbeats: &[Arc<Heartbeat>]) -> Result<(), Failure> {
        for heartbeat in heartbeats {
            self.send(Event::Heartbeat(heartbeat.clone())).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_an_hmac_of_the_body() {
        // RFC 4231, test case 2.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"Jefe");
        assert_eq!(
            signature(&key, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn options_are_checked() {
        _ = rustls::crypto::ring::default_provider().install_default();
        let made = |text: &str| {
            let options: Options =
                serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
            new(options).map(|_| ())
        };
        assert_eq!(
            made("{url: 'https://example.test/', method: put, format: slack, timeout: 2}"),
            Ok(())
        );
        for (text, expected) in [
            ("{}", "missing field `url`"),
            ("{url: example}", "url: expected a URL"),
            (
                "{url: 'http://x/', method: 'do it'}",
                "method: expected an HTTP method",
            ),
            (
                "{url: 'http://x/', headers: {'a b': c}}",
                "headers: expected",
            ),
            ("{url: 'http://x/', format: fax}", "unknown variant `fax`"),
            (
                "{url: 'http://x/', format: slack, body: x}",
                "body: expected no format beside it",
            ),
            (
                "{url: 'http://x/', body: '{{tilte}}'}",
                "body: there is no {{tilte}}",
            ),
            (
                "{url: 'http://x/', timeout: 0}",
                "expected a positive number of seconds",
            ),
            (
                "{url: 'http://x/', secret: ''}",
                "secret: expected a secret",
            ),
            (
                "{url: 'http://x/', signature_header: 'a b'}",
                "signature_header: expected",
            ),
            ("{url: 'http://x/', colour: red}", "unknown field `colour`"),
        ] {
            let error = made(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
