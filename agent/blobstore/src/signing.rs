//! Signed URLs of a DAV blobstore, both ends: the director signs, the blob server verifies.
//!
//! `<endpoint>/signed/<xx>/<id>?e=<seconds>&st=<signature>&ts=<unix time>`, the signature being the URL-safe base64
//! (no padding) of HMAC-SHA256(secret, `METHOD<xx>/<id><ts><e>`). Upstream: bosh-davcli signer/signer.go, and the
//! secure_link_hmac block of bosh/jobs/blobstore/templates/blobstore.conf.erb.

use crate::{Error, id};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What a signed URL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fetch the blob.
    Get,
    /// Store the blob.
    Put,
}

impl Action {
    /// The HTTP method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// A URL that lets whoever holds it fetch or store one blob for a while. `Debug` hides it; [`SignedUrl::as_str`] does not.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(String);

impl SignedUrl {
    #[cfg(any(feature = "atmos", feature = "cloud"))]
    pub(crate) fn new(url: String) -> Self {
        Self(url)
    }

    /// The URL itself: a secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedUrl(<redacted>)")
    }
}

/// Why a signed request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The signature is missing, malformed, or of another secret, method, blob or time: HTTP 403.
    #[error("the signature does not match")]
    Signature,
    /// The time it was signed for is over: HTTP 403.
    #[error("the signed URL has expired")]
    Expired,
}

/// Signs the URL of the blob `id` for `action`, valid from `now` for `valid_for`.
pub fn sign(
    endpoint: &str,
    secret: &str,
    id: &str,
    action: Action,
    now: SystemTime,
    valid_for: Duration,
) -> Result<SignedUrl, Error> {
    id::check(id)?;
    let object = id::dav_path(id);
    let ts = unix(now).to_string();
    let e = valid_for.as_secs().to_string();
    let st = URL_SAFE_NO_PAD.encode(hmac::sign(
        &key(secret),
        message(action.method(), &object, &ts, &e).as_bytes(),
    ));
    let path: Vec<String> = object.split('/').map(encode_segment).collect();
    Ok(SignedUrl(format!(
        "{}/signed/{}?e={e}&st={st}&ts={ts}",
        endpoint.trim_end_matches('/'),
        path.join("/")
    )))
}

/// Checks a request for `/signed/<object>?st=..&ts=..&e=..`. `object` is the decoded path after `/signed/`, `method` as
/// it was sent: as with upstream's nginx, a URL signed for GET is good for GET alone.
pub fn verify(
    secret: &str,
    method: &str,
    object: &str,
    st: &str,
    ts: &str,
    e: &str,
    now: SystemTime,
) -> Result<(), Refused> {
    let signature = URL_SAFE_NO_PAD
        .decode(st.trim_end_matches('='))
        .map_err(|_| Refused::Signature)?;
    hmac::verify(
        &key(secret),
        message(method, object, ts, e).as_bytes(),
        &signature,
    )
    .map_err(|_| Refused::Signature)?;
    let (Ok(ts), Ok(e)) = (ts.parse::<u64>(), e.parse::<u64>()) else {
        return Err(Refused::Signature);
    };
    // An expiry of zero means for ever, as in nginx's module.
    if e != 0 && ts.saturating_add(e) < unix(now) {
        return Err(Refused::Expired);
    }
    Ok(())
}

/// Percent-encodes one segment of a URL path.
pub(crate) fn encode_segment(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn message(method: &str, object: &str, ts: &str, e: &str) -> String {
    format!("{method}{object}{ts}{e}")
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn query(url: &SignedUrl, key: &str) -> String {
        let (_, query) = url.as_str().split_once('?').unwrap();
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{key}=")))
            .unwrap()
            .to_owned()
    }

    /// The signature was made with `openssl dgst -sha256 -hmac`, not with this code.
    #[test]
    fn signatures_are_those_of_hmac_sha256() {
        let url = sign(
            "https://blobs:25250/",
            "s3cret",
            "abc",
            Action::Get,
            at(1_700_000_000),
            Duration::from_secs(86_400),
        )
        .unwrap();
        assert_eq!(
            url.as_str(),
            "https://blobs:25250/signed/a9/abc?e=86400&st=-G0LapKV6uw0RCHNe9GEDORI5PHFBYsmdUws0ZKPJKc&ts=1700000000"
        );
        assert_eq!(format!("{url:?}"), "SignedUrl(<redacted>)");
    }

    #[test]
    fn only_what_was_signed_is_allowed() {
        let url = sign(
            "http://h",
            "s",
            "abc",
            Action::Put,
            at(100),
            Duration::from_secs(10),
        )
        .unwrap();
        let (st, ts, e) = (query(&url, "st"), query(&url, "ts"), query(&url, "e"));
        let check = |secret: &str, method: &str, object: &str, e: &str, now: u64| {
            verify(secret, method, object, &st, &ts, e, at(now))
        };
        assert_eq!(check("s", "PUT", "a9/abc", &e, 105), Ok(()));
        assert_eq!(check("s", "PUT", "a9/abc", &e, 110), Ok(()));
        assert_eq!(check("s", "PUT", "a9/abc", &e, 111), Err(Refused::Expired));
        for (secret, method, object, e) in [
            ("x", "PUT", "a9/abc", "10"),
            ("s", "GET", "a9/abc", "10"),
            ("s", "PUT", "a9/abd", "10"),
            ("s", "PUT", "a9/abc", "99"),
        ] {
            assert_eq!(
                check(secret, method, object, e, 105),
                Err(Refused::Signature),
                "{secret} {method} {object} {e}"
            );
        }
        assert_eq!(
            verify("s", "PUT", "a9/abc", "???", &ts, &e, at(105)),
            Err(Refused::Signature)
        );
    }

    #[test]
    fn ids_are_encoded_in_the_url_and_not_in_the_signature() {
        let url = sign(
            "http://h/base",
            "s",
            "a b/c",
            Action::Get,
            at(1),
            Duration::from_secs(1),
        )
        .unwrap();
        let object = id::dav_path("a b/c");
        assert!(url.as_str().contains("/base/signed/"));
        assert!(url.as_str().contains("/a%20b/c?"), "{}", url.as_str());
        assert_eq!(
            verify("s", "GET", &object, &query(&url, "st"), "1", "1", at(1)),
            Ok(())
        );
    }
}
