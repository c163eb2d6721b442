//! What the plugins that speak HTTP have in common. Source: upstream's plugins/http_request_helper.rb.
//!
//! Proxies: an entry's own, or those of the environment (`http_proxy`, `https_proxy`, `no_proxy`), of which this machine
//! itself has no need.

use std::time::Duration;

use reqwest::{Certificate, Proxy, RequestBuilder, StatusCode, Url, header};

use super::target::Failure;
use crate::sync::chain;

/// How long a request may take, where the options do not say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an answer is looked at to explain a failure.
const SHOWN: usize = 300;

/// How to reach a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// A proxy of its own.
    pub(super) proxy: Option<String>,
    /// A PEM file with the CAs to trust instead of the machine's own.
    pub(super) ca_cert: Option<String>,
    pub(super) timeout: Option<Duration>,
}

/// Reads a URL; `key` is for the error.
pub(super) fn url(key: &str, text: &str) -> Result<Url, String> {
    let expected = || format!("{key}: expected a URL such as https://host/path");
    let url = Url::parse(text).map_err(|error| format!("{}: {error}", expected()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(expected()),
    }
}

/// A client for the server of this URL.
pub(super) fn client(url: &Url, way: &Way) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .timeout(way.timeout.unwrap_or(TIMEOUT))
        .user_agent("bosh-monitor")
        .redirect(reqwest::redirect::Policy::none());
    if let Some(proxy) = way.proxy.as_ref().filter(|proxy| !proxy.is_empty()) {
        let refuse = |error| format!("http_proxy: expected the URL of a proxy: {}", chain(&error));
        builder = builder.proxy(Proxy::all(proxy).map_err(refuse)?);
    } else if is_local(url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = way.ca_cert.as_ref().filter(|path| !path.is_empty()) {
        let pem =
            std::fs::read(path).map_err(|error| format!("ca_cert: reading {path}: {error}"))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| {
            format!(
                "ca_cert: {path}: expected certificates in PEM: {}",
                chain(&error)
            )
        })?;
        if certificates.is_empty() {
            return Err(format!("ca_cert: {path}: expected certificates in PEM"));
        }
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| chain(&error))
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Sends, and takes any 2xx for a yes. What the server finds wrong with the message itself it will always find wrong;
/// anything else may be better another time.
pub(super) async fn send(request: RequestBuilder) -> Result<(), Failure> {
    let response = request
        .send()
        .await
        .map_err(|error| Failure::retry(chain(&error.without_url())))?;
    let status = response.status();
    if status.is_success() {
        // Read to its end, the connection serves again.
        _ = response.bytes().await;
        return Ok(());
    }
    let wish = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = beginning(response).await;
    let why = format!("answered {status}: {body}");
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::UNSUPPORTED_MEDIA_TYPE => Err(Failure::Refused(why)),
        _ => Err(Failure::Retry(why, wish)),
    }
}

/// The beginning of an answer, on one line. A server that goes on and on is not listened to.
async fn beginning(mut response: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN
        && let Ok(Some(chunk)) = response.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(SHOWN)]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().take(SHOWN).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => segment.push(byte.into()),
            b'-' | b'_' | b'.' | b'~' | b'!' | b'$' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' | b':' | b'@' => {
                segment.push(byte.into());
            }
            other => segment.push_str(&format!("%{other:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_servers_are_urls() {
        assert!(url("url", "https://example.test/x?y").is_ok());
        for wrong in [
            "example.test",
            "ftp://example.test",
            "file:///etc/passwd",
            "",
        ] {
            assert!(
                url("url", wrong)
                    .unwrap_err()
                    .starts_with("url: expected a URL"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(
            segment("a_b/c?d#e f%g<h>ü"),
            "a_b%2Fc%3Fd%23e%20f%25g%3Ch%3E%C3%BC"
        );
        assert_eq!(segment("ns_test:(alert)"), "ns_test:(alert)");
    }

    #[test]
    fn this_machine_needs_no_proxy() {
        for (text, expected) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]/", true),
            ("https://localhost/", true),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_local(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
