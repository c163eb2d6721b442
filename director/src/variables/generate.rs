//! Making values: passwords, certificates, keys, users.

use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::certificate::{Authority, sign};
use super::keys::Rsa;

/// Why a value was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kind is none that is known.
    #[error(
        "The request does not include a valid type. Valid values include 'password', 'certificate', 'rsa', 'ssh' and 'user'."
    )]
    Kind(String),
    /// An option is missing or wrong; the text says which.
    #[error("{0}")]
    Options(String),
    /// No key could be made.
    #[error("make an RSA key: {0}")]
    Key(String),
    /// The machine has no randomness to give.
    #[error("no randomness to be had")]
    Random,
}

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const SPECIAL: &str = "!\"#$%&'()*,-./:;<=>?@[\\]^_`{|}~";

/// How many bits of RSA key a value of `kind` needs; none for kinds without a key.
///
/// # Errors
/// Options that will not do.
pub fn key_bits(kind: &str, options: &Map<String, Value>) -> Result<Option<u32>, Error> {
    match kind {
        "certificate" => {
            check_certificate(options)?;
            key_length(options).map(Some)
        }
        "rsa" | "ssh" => key_length(options).map(Some),
        "password" | "user" => Ok(None),
        other => Err(Error::Kind(other.to_owned())),
    }
}

/// Makes a value of `kind` with `options`. `key` is a fresh one of [`key_bits`], `authority` what the option `ca` leads
/// to.
pub fn generate(
    kind: &str,
    options: &Map<String, Value>,
    key: Option<&Rsa>,
    authority: Option<&Authority>,
    now: OffsetDateTime,
) -> Result<Value, Error> {
    let key = || key.ok_or_else(|| Error::Key("none was made".into()));
    match kind {
        "password" => password(options, 30).map(Value::String),
        "user" => {
            let username = match options.get("username").and_then(Value::as_str) {
                Some(name) => name.to_owned(),
                None => from(&alphabet(&[LOWER, UPPER]), 20)?,
            };
            let password = password(options, 30)?;
            let salt = from(&alphabet(&[LOWER, UPPER, DIGITS]), 8)?;
            let hash = super::crypt::sha512(&password, &salt);
            Ok(json!({"username": username, "password": password, "password_hash": hash}))
        }
        "rsa" => {
            let key = key()?;
            Ok(json!({"private_key": key.private_pem(), "public_key": key.public_pem()}))
        }
        "ssh" => {
            let key = key()?;
            let (mut public, fingerprint) = key.ssh_public();
            if let Some(comment) = options.get("ssh_comment").and_then(Value::as_str) {
                public.push(' ');
                public.push_str(comment);
            }
            Ok(json!({
                "private_key": key.private_pem(),
                "public_key": public,
                "public_key_fingerprint": fingerprint,
            }))
        }
        "certificate" => {
            let key = key()?;
            let certificate = sign(options, key, authority, now)?;
            let ca = authority.map_or(&certificate, |authority| &authority.certificate);
            Ok(json!({"ca": ca, "certificate": certificate, "private_key": key.private_pem()}))
        }
        other => Err(Error::Kind(other.to_owned())),
    }
}

fn check_certificate(options: &Map<String, Value>) -> Result<(), Error> {
    let is = |key: &str| options.get(key) == Some(&Value::Bool(true));
    let has = |key: &str| {
        options
            .get(key)
            .is_some_and(|value| !value.is_null() && value != "")
    };
    if !has("ca") && !is("is_ca") && !is("self_sign") {
        return Err(Error::Options(
            "You must specify a signing CA, either by setting the 'ca' or the 'is_ca' or 'self_sign' option.".into(),
        ));
    }
    if ![
        "common_name",
        "organization",
        "organization_unit",
        "locality",
        "state",
        "country",
    ]
    .iter()
    .any(|key| has(key))
        && !has("alternative_names")
    {
        return Err(Error::Options(
            "At least one subject value must be specified. Please update and retry your request."
                .into(),
        ));
    }
    Ok(())
}

fn key_length(options: &Map<String, Value>) -> Result<u32, Error> {
    match options.get("key_length") {
        None | Some(Value::Null) => Ok(2048),
        Some(value) => match value.as_u64() {
            Some(2048) => Ok(2048),
            Some(3072) => Ok(3072),
            Some(4096) => Ok(4096),
            _ => Err(Error::Options(
                "The provided key length is not supported. Valid values include '2048', '3072' and '4096'.".into(),
            )),
        },
    }
}

fn alphabet(sets: &[&str]) -> Vec<u8> {
    sets.concat().into_bytes()
}

fn password(options: &Map<String, Value>, length: usize) -> Result<String, Error> {
    let is = |key: &str| options.get(key) == Some(&Value::Bool(true));
    let mut sets = Vec::new();
    for (set, wanted) in [
        (LOWER, !is("exclude_lower")),
        (UPPER, !is("exclude_upper")),
        (DIGITS, !is("exclude_number")),
        (SPECIAL, is("include_special")),
    ] {
        if wanted {
            sets.push(set);
        }
    }
    if sets.is_empty() {
        return Err(Error::Options(
            "The combination of parameters in the request is not allowed. Please validate your input and retry your \
             request."
                .into(),
        ));
    }
    let length = options
        .get("length")
        .and_then(Value::as_u64)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| (4..=200).contains(length))
        .unwrap_or(length);
    from(&alphabet(&sets), length)
}

/// Random characters, each as likely as any other.
fn from(alphabet: &[u8], length: usize) -> Result<String, Error> {
    let random = SystemRandom::new();
    let bound = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0u8; 64];
    while text.len() < length {
        random.fill(&mut bytes).map_err(|_| Error::Random)?;
        for byte in bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < bound)
        {
            if text.len() < length {
                text.push(char::from(alphabet[byte % alphabet.len()]));
            }
        }
    }
    Ok(text)
}
