//! Tokens of the director's UAA, by client credentials. Source: upstream's auth_provider.rb.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::DirectorOptions;

/// A token is renewed this long before it expires, as upstream does.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// A UAA and the token it gave last.
pub(super) struct Uaa {
    url: String,
    client_id: String,
    client_secret: Option<String>,
    /// What its tokens are signed with, PEM; they are not checked without.
    public_key: Option<String>,
    /// `TYPE TOKEN`, and until when it is good.
    token: Mutex<Option<(String, Instant)>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The UAA did not answer, or not with a token.
    #[error("getting a token from the UAA at {url}")]
    Grant {
        /// The UAA.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The token is not one of this UAA.
    #[error("checking the token of the UAA at {url}: {reason}")]
    Signature {
        /// The UAA.
        url: String,
        /// Why.
        reason: &'static str,
    },
}

impl Uaa {
    pub(super) fn new(url: &str, options: &DirectorOptions) -> Self {
        let key = options.uaa_public_key.as_deref().map(str::trim);
        Self {
            url: url.trim_end_matches('/').to_owned(),
            client_id: options.client_id.clone().unwrap_or_default(),
            client_secret: options.client_secret.clone(),
            public_key: key.filter(|key| !key.is_empty()).map(str::to_owned),
            token: Mutex::new(None),
        }
    }

    /// The `Authorization` header, with a token that is good for a while.
    pub(super) async fn header(&self, http: &reqwest::Client) -> Result<String, Error> {
        let mut token = self.token.lock().await;
        if let Some((header, expires)) = &*token
            && Instant::now() + RENEW_BEFORE < *expires
        {
            return Ok(header.clone());
        }
        *token = None;
        let granted = self.grant(http).await?;
        let header = format!("{} {}", granted.token_type, granted.access_token);
        let expires = Instant::now() + Duration::from_secs(granted.expires_in);
        *token = Some((header.clone(), expires));
        Ok(header)
    }

    /// Has the next request get a new token.
    pub(super) async fn forget(&self) {
        *self.token.lock().await = None;
    }

    async fn grant(&self, http: &reqwest::Client) -> Result<Granted, Error> {
        let request = http
            .post(format!("{}/oauth/token", self.url))
            .basic_auth(&self.client_id, self.client_secret.as_deref())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "application/json")
            .body("grant_type=client_credentials");
        let failed = |source: reqwest::Error| Error::Grant {
            url: self.url.clone(),
            source: source.without_url(),
        };
        let response = request.send().await.map_err(failed)?;
        let response = response.error_for_status().map_err(failed)?;
        let granted: Granted = response.json().await.map_err(failed)?;
        if let Some(key) = &self.public_key {
            verify(&granted.access_token, key).map_err(|reason| Error::Signature {
                url: self.url.clone(),
                reason,
            })?;
        }
        Ok(granted)
    }
}

#[derive(Deserialize)]
struct Granted {
    token_type: String,
    access_token: String,
    expires_in: u64,
}

/// Checks an RS256 JSON web token against a PEM key.
fn verify(token: &str, pem: &str) -> Result<(), &'static str> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    let (signed, signature) = token.rsplit_once('.').ok_or("it is no JSON web token")?;
    let (header, _) = signed.split_once('.').ok_or("it is no JSON web token")?;
    let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text);
    let header = decode(header).map_err(|_| "its header is not base64")?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| "its header is not JSON")?;
    if header.alg != "RS256" {
        return Err("it is not signed with RS256");
    }
    let signature = decode(signature).map_err(|_| "its signature is not base64")?;
    let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "uaa_public_key is not a public key in PEM")?;
    let key = rsa_key(&info).ok_or("uaa_public_key is not an RSA key")?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "its signature is not one of uaa_public_key")
}

/// The RSAPublicKey in a SubjectPublicKeyInfo: SEQUENCE { SEQUENCE { algorithm }, BIT STRING { key } }.
fn rsa_key(info: &[u8]) -> Option<&[u8]> {
    let (info, _) = der(info, 0x30)?;
    let (_, rest) = der(info, 0x30)?;
    let (bits, _) = der(rest, 0x03)?;
    bits.strip_prefix(&[0])
}

/// The content of the DER value that begins here, and what follows it.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = if first < 0x80 {
        (usize::from(first), bytes)
    } else {
        let (length, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
        let mut value = 0usize;
        for byte in length {
            value = value.checked_mul(256)?.checked_add(usize::from(*byte))?;
        }
        (value, bytes)
    };
    let split = bytes.split_at_checked(length)?;
    (found == tag).then_some(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test with `openssl genrsa`; the private half is thrown away.
    const KEY: &str = include_str!("testdata/uaa.pem");
    const TOKEN: &str = include_str!("testdata/token.jwt");

    #[test]
    fn a_token_is_its_uaas_or_refused() {
        let token = TOKEN.trim();
        assert_eq!(verify(token, KEY), Ok(()));
        let forged = token.replacen("eyJ", "eyK", 2);
        assert!(verify(&forged, KEY).is_err());
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(
            verify(&format!("{signed}.AAAA"), KEY),
            Err("its signature is not one of uaa_public_key")
        );
        assert_eq!(verify("opaque", KEY), Err("it is no JSON web token"));
        assert_eq!(
            verify(token, "no key"),
            Err("uaa_public_key is not a public key in PEM")
        );
        // {"alg":"none"}
        assert_eq!(
            verify("eyJhbGciOiJub25lIn0.e30.", KEY),
            Err("it is not signed with RS256")
        );
    }
}
