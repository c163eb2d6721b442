//! Encryption of values at rest: AES-256-GCM, a fresh nonce each time, the name bound to the value.
//!
//! A sealed value is one byte for the format, twelve of nonce, then the encrypted JSON with its tag.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

const FORMAT: u8 = 1;

/// Seals and opens values. Its key is not printed.
#[derive(Clone)]
pub struct Cipher(std::sync::Arc<LessSafeKey>);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(<redacted>)")
    }
}

/// What is sealed: a value and what it was made from.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Options it was generated with, links and full names filled in; to see whether a definition changed.
    #[serde(default)]
    pub options: Map<String, Value>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("value", &format_args!("<redacted>"))
            .field("options", &self.options)
            .finish()
    }
}

/// Why a value was not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key has another length than 32 bytes.
    #[error("encryption key has {0} bytes, 32 are needed")]
    Key(usize),
    /// Not sealed with this key under this name, or damaged.
    #[error("value of '{0}' cannot be decrypted with the director's key")]
    Open(String),
    /// The machine has no randomness to give.
    #[error("value of '{0}' cannot be encrypted")]
    Seal(String),
}

impl Cipher {
    /// A cipher with a key of 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, Error> {
        let unbound = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Key(key.len()))?;
        Ok(Self(std::sync::Arc::new(LessSafeKey::new(unbound))))
    }

    /// Makes up a key.
    pub fn new_key() -> Result<[u8; 32], Error> {
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .map_err(|_| Error::Seal("the key".into()))?;
        Ok(key)
    }

    /// Seals a value under its full name.
    pub fn seal(&self, name: &str, entry: &Entry) -> Result<Vec<u8>, Error> {
        let failed = || Error::Seal(name.to_owned());
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| failed())?;
        let mut text = serde_json::to_vec(entry).map_err(|_| failed())?;
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut text,
            )
            .map_err(|_| failed())?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what was sealed under that name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Entry, Error> {
        let failed = || Error::Open(name.to_owned());
        let rest = sealed.strip_prefix(&[FORMAT]).ok_or_else(failed)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
        let mut text = text.to_vec();
        let opened = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(name.as_bytes()),
                &mut text,
            )
            .map_err(|_| failed())?;
        serde_json::from_slice(opened).map_err(|_| failed())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_back_under_its_name_only() {
        let cipher = Cipher::new(&Cipher::new_key().unwrap()).unwrap();
        let entry = Entry {
            value: json!({"password": "s3cret"}),
            options: Map::new(),
        };
        let sealed = cipher.seal("/d/dep/a", &entry).unwrap();
        assert_eq!(cipher.open("/d/dep/a", &sealed), Ok(entry.clone()));
        assert_eq!(
            cipher.open("/d/dep/b", &sealed),
            Err(Error::Open("/d/dep/b".into()))
        );
        assert_ne!(sealed, cipher.seal("/d/dep/a", &entry).unwrap());
        assert!(!sealed.windows(6).any(|window| window == b"s3cret"));
        let other = Cipher::new(&Cipher::new_key().unwrap()).unwrap();
        assert!(other.open("/d/dep/a", &sealed).is_err());
        let mut damaged = sealed.clone();
        damaged[20] ^= 1;
        assert!(cipher.open("/d/dep/a", &damaged).is_err());
        assert!(cipher.open("/d/dep/a", &sealed[..5]).is_err());
        assert_eq!(Cipher::new(&[0; 16]).unwrap_err(), Error::Key(16));
        assert!(!format!("{cipher:?} {entry:?}").contains("s3cret"));
    }
}
