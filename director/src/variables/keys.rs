//! RSA keys. Ruby's OpenSSL makes them: neither ring nor the other cryptography here can, and Ruby is there anyway.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use ring::rsa::PublicKeyComponents;
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::generate::Error;

/// How long making a key may take; large ones take seconds.
const LIMIT: Duration = Duration::from_secs(120);

const SCRIPT: &str =
    "require 'openssl'; $stdout.write(OpenSSL::PKey::RSA.new(Integer(ARGV[0])).to_pem)";

/// An RSA key. Not printed.
pub struct Rsa {
    pem: String,
    pair: KeyPair,
    ring: ring::rsa::KeyPair,
}

impl std::fmt::Debug for Rsa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rsa(<redacted>)")
    }
}

impl Rsa {
    /// Makes a key of `bits`.
    pub async fn generate(ruby: &Path, bits: u32) -> Result<Self, Error> {
        let run = Command::new(ruby)
            .args(["-W0", "-e", SCRIPT, &bits.to_string()])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(LIMIT, run)
            .await
            .map_err(|_| Error::Key(format!("Ruby took longer than {LIMIT:?}")))?
            .map_err(|error| Error::Key(format!("start '{}': {error}", ruby.display())))?;
        if !output.status.success() {
            return Err(Error::Key(format!("Ruby ended with {}", output.status)));
        }
        let pem =
            String::from_utf8(output.stdout).map_err(|error| Error::Key(error.to_string()))?;
        Self::from_pem(&pem)
    }

    /// Reads a key: `RSA PRIVATE KEY` or `PRIVATE KEY`.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let unreadable = || Error::Key("not an RSA key in PEM form".into());
        let (label, der) = decode(pem).ok_or_else(unreadable)?;
        let pkcs8 = match label.as_str() {
            "RSA PRIVATE KEY" => wrap(&der),
            "PRIVATE KEY" => der,
            _ => return Err(unreadable()),
        };
        let ring = ring::rsa::KeyPair::from_pkcs8(&pkcs8).map_err(|_| unreadable())?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(pkcs8),
            &PKCS_RSA_SHA256,
        )
        .map_err(|_| unreadable())?;
        Ok(Self {
            pem: pem.to_owned(),
            pair,
            ring,
        })
    }

    /// The private key, `RSA PRIVATE KEY` if made here.
    pub fn private_pem(&self) -> &str {
        &self.pem
    }

    /// The public key, `PUBLIC KEY`.
    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The public key as `authorized_keys` has it, and its fingerprint (SHA-256, base64 without padding).
    pub fn ssh_public(&self) -> (String, String) {
        let parts: PublicKeyComponents<Vec<u8>> = self.ring.public().into();
        let mut blob = Vec::new();
        field(&mut blob, b"ssh-rsa");
        number(&mut blob, &parts.e);
        number(&mut blob, &parts.n);
        let fingerprint = STANDARD_NO_PAD.encode(Sha256::digest(&blob));
        (format!("ssh-rsa {}", STANDARD.encode(blob)), fingerprint)
    }

    /// For signing certificates.
    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

fn field(blob: &mut Vec<u8>, bytes: &[u8]) {
    blob.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    blob.extend_from_slice(bytes);
}

/// A positive number: without leading zeros, but with one if it would look negative.
fn number(blob: &mut Vec<u8>, bytes: &[u8]) {
    let start = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len());
    let mut padded = Vec::with_capacity(bytes.len() + 1);
    if bytes.get(start).is_some_and(|byte| byte & 0x80 != 0) {
        padded.push(0);
    }
    padded.extend_from_slice(&bytes[start..]);
    field(blob, &padded);
}

fn decode(pem: &str) -> Option<(String, Vec<u8>)> {
    let rest = &pem[pem.find("-----BEGIN ")? + 11..];
    let (label, rest) = rest.split_once("-----")?;
    let body = &rest[..rest.find("-----END ")?];
    let text: String = body.split_whitespace().collect();
    Some((label.to_owned(), STANDARD.decode(text).ok()?))
}

/// An RSA key of PKCS#1 in the envelope of PKCS#8: version 0, algorithm rsaEncryption, the key.
fn wrap(pkcs1: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 18] = [
        0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
        0x01, 0x05, 0x00,
    ];
    let mut inner = HEAD.to_vec();
    tagged(&mut inner, 0x04, pkcs1);
    let mut outer = Vec::new();
    tagged(&mut outer, 0x30, &inner);
    outer
}

fn tagged(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    match u8::try_from(content.len()) {
        Ok(length) if length < 0x80 => out.push(length),
        _ => {
            let bytes = content.len().to_be_bytes();
            let start = bytes
                .iter()
                .position(|byte| *byte != 0)
                .unwrap_or(bytes.len() - 1);
            out.push(0x80 | u8::try_from(bytes.len() - start).unwrap_or(8));
            out.extend_from_slice(&bytes[start..]);
        }
    }
    out.extend_from_slice(content);
}
