//! `webhook`: every event as a JSON document to a URL. Ours; upstream has none.
//!
//! Options: `url`; `method` (POST); `headers` (a mapping). A request that fails or is answered with other than 2xx is
//! tried again, [`TRIES`] times in all, with pauses that double from [`FIRST_PAUSE`] on.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, Url, header};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::Plugin;
use crate::event::Event;
use crate::{director, sync::chain};

const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
pub(super) struct Options {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

pub(super) struct Webhook {
    url: Url,
    method: Method,
    headers: header::HeaderMap,
    http: reqwest::Client,
}

impl Webhook {
    pub(super) fn new(options: Options) -> Result<Self, String> {
        let url =
            Url::parse(&options.url).map_err(|error| format!("url: expected a URL: {error}"))?;
        let method = options
            .method
            .as_deref()
            .unwrap_or("POST")
            .to_ascii_uppercase();
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("method: expected an HTTP method, found {method}"))?;
        let headers = header::HeaderMap::try_from(
            &options
                .headers
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        )
        .map_err(|error| format!("headers: {error}"))?;
        Ok(Self {
            url,
            method,
            headers,
            http: director::client(None).map_err(|error| chain(&error))?,
        })
    }

    async fn deliver(&self, event: &Event) -> Result<(), String> {
        let request = self
            .http
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone());
        let response = request
            .json(&event.to_json())
            .send()
            .await
            .map_err(|error| chain(&error.without_url()))?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(format!("answered {}", response.status()))
        }
    }
}

#[async_trait]
impl Plugin for Webhook {
    async fn run(self: Box<Self>, mut events: mpsc::Receiver<Event>) {
        // A URL may carry a token in its path: only the host is named.
        let host = self.url.host_str().unwrap_or_default();
        while let Some(event) = events.recv().await {
            let mut pause = FIRST_PAUSE;
            for attempt in 1..=TRIES {
                match self.deliver(&event).await {
                    Ok(()) => break,
                    Err(error) if attempt == TRIES => tracing::error!(
                        host,
                        "webhook: giving an event up after {TRIES} tries: {error}"
                    ),
                    Err(error) => {
                        tracing::warn!(host, attempt, "webhook: {error}");
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                    }
                }
            }
        }
    }
}
